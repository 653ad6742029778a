"""The events of the Realtime protocol as they are on the wire."""

import json
from typing import get_args

import pytest

import schemas
from protocols.realtime import events
from protocols.realtime.events import ServerEvent
from tests.support.realtime_client import validate

SESSION = events.Session(
    id="sess_1",
    audio=events.Audio(
        input=events.AudioInput(
            format=events.Format(type="audio/pcm", rate=24_000),
            transcription=events.Transcription(model="omniasr", language=None),
            turn_detection=events.ServerVad(),
        )
    ),
    include=(),
)
SESSION_TEXT = (
    '{"id":"sess_1","object":"realtime.transcription_session","type":"transcription",'
    '"audio":{"input":{"format":{"type":"audio/pcm","rate":24000},'
    '"transcription":{"model":"omniasr"},'
    '"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,'
    '"silence_duration_ms":500}}},"include":[]}'
)
FLAT = events.FlatSession(
    id="sess_1",
    input_audio_format="g711_ulaw",
    input_audio_transcription=events.Transcription(
        model="whisper-1", language="fr", delay="low"
    ),
    turn_detection=None,
    include=("item.input_audio_transcription.logprobs",),
)
FLAT_TEXT = (
    '{"id":"sess_1","object":"realtime.transcription_session",'
    '"input_audio_format":"g711_ulaw",'
    '"input_audio_transcription":{"model":"whisper-1","language":"fr","delay":"low"},'
    '"turn_detection":null,'
    '"include":["item.input_audio_transcription.logprobs"]}'
)
ITEM = events.Item(id="item_2")
ITEM_TEXT = (
    '"previous_item_id":"item_1","item":{"id":"item_2","object":"realtime.item",'
    '"type":"message","status":"completed","role":"user",'
    '"content":[{"type":"input_audio"}]}'
)
LANGUAGES = (schemas.DetectedLanguage(code="ru"),)
USAGE = schemas.DurationUsage(seconds=1.25)

# Each event, and what its text has after the type and the id.
EXAMPLES: list[tuple[ServerEvent, str]] = [
    (
        events.SessionCreated(event_id="event_1", session=SESSION),
        f'"session":{SESSION_TEXT}',
    ),
    (
        events.SessionUpdated(event_id="event_1", session=SESSION),
        f'"session":{SESSION_TEXT}',
    ),
    (
        events.FlatSessionUpdated(event_id="event_1", session=FLAT),
        f'"session":{FLAT_TEXT}',
    ),
    (
        events.SpeechStarted(event_id="event_1", audio_start_ms=0, item_id="item_2"),
        '"audio_start_ms":0,"item_id":"item_2"',
    ),
    (
        events.SpeechStopped(event_id="event_1", audio_end_ms=900, item_id="item_2"),
        '"audio_end_ms":900,"item_id":"item_2"',
    ),
    (
        events.Committed(event_id="event_1", item_id="item_2", previous_item_id=None),
        '"item_id":"item_2","previous_item_id":null',
    ),
    (events.Cleared(event_id="event_1"), ""),
    (
        events.ItemCreated(event_id="event_1", previous_item_id="item_1", item=ITEM),
        ITEM_TEXT,
    ),
    (
        events.ItemAdded(event_id="event_1", previous_item_id="item_1", item=ITEM),
        ITEM_TEXT,
    ),
    (
        events.ItemDone(event_id="event_1", previous_item_id="item_1", item=ITEM),
        ITEM_TEXT,
    ),
    (
        events.Delta(event_id="event_1", item_id="item_2", delta=" два"),
        '"item_id":"item_2","content_index":0,"delta":" два"',
    ),
    (
        events.Completed(
            event_id="event_1",
            item_id="item_2",
            transcript="раз два",
            languages=LANGUAGES,
            usage=USAGE,
        ),
        '"item_id":"item_2","content_index":0,"transcript":"раз два",'
        '"languages":[{"code":"ru"}],"usage":{"type":"duration","seconds":1.25}',
    ),
    (
        events.Completed(
            event_id="event_1",
            item_id="item_2",
            transcript="a",
            languages=(),
            usage=USAGE,
            logprobs=(schemas.LogProb(token="a", bytes=[97], logprob=-0.5),),
        ),
        '"item_id":"item_2","content_index":0,"transcript":"a","languages":[],'
        '"usage":{"type":"duration","seconds":1.25},'
        '"logprobs":[{"token":"a","bytes":[97],"logprob":-0.5}]',
    ),
    (
        events.Failed(
            event_id="event_1",
            item_id="item_2",
            error=schemas.ErrorBody(
                message="It broke.", type="server_error", param=None, code="broken"
            ),
        ),
        '"item_id":"item_2","content_index":0,"error":{"message":"It broke.",'
        '"type":"server_error","param":null,"code":"broken"}',
    ),
    (
        events.Error(
            event_id="event_1",
            error=events.Mistake(
                code="invalid_json", message="No.", param=None, event_id=None
            ),
        ),
        '"error":{"type":"invalid_request_error","code":"invalid_json",'
        '"message":"No.","param":null,"event_id":null}',
    ),
]


@pytest.mark.parametrize(
    ("event", "rest"), EXAMPLES, ids=[type(event).__name__ for event, _ in EXAMPLES]
)
def test_an_event_is_written_like_this(event: ServerEvent, rest: str) -> None:
    """To the letter; and OpenAI's SDK can read it, strictly."""
    text = event.model_dump_json()

    comma = "," if rest else ""
    assert text == f'{{"type":"{event.type}","event_id":"event_1"{comma}{rest}}}'
    validate(json.loads(text))


def test_every_event_has_an_example() -> None:
    """A new one is written down here, too."""
    assert {type(event) for event, _ in EXAMPLES} == set(get_args(ServerEvent))
