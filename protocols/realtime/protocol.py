"""Speak OpenAI's Realtime protocol, as far as it is about transcription.

Messages of the client go in; what is to be done with a live stream and sent to the
client comes out. What the stream tells goes in; more events for the client come out.
Whoever owns the socket does these in order; see `sockets/session.py`.

Clients rely on more than the names of events, so this holds, whatever comes in:

- An utterance is one item, with one id from `speech_started` to `completed`.
- For each `committed` there is exactly one `completed` or `failed`, silence included.
- The deltas of an item only add, never correct, and end before those of the next
  begin; `completed` has the authoritative text.
- `cleared` comes after the answers to all commits before it.
- `error` is for messages that cannot be read, since clients take it for the end.

When a commit is answered is decided in `protocols/realtime/commits.py`: at once
without turn detection, with it when its utterance is there.

No I/O, no clock, no asyncio: ids come from outside, times from the stream.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import schemas
from audio.samples import SAMPLE_RATE, seconds
from languages.scripts import label_language
from live.events import (
    Cause,
    Hypothesis,
    LiveEvent,
    SpeechEnded,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    Configure,
    End,
    Failure,
    Flush,
    Send,
    Stop,
)
from protocols.realtime.commits import Commits
from protocols.realtime.session import (
    BadSession,
    Defaults,
    Json,
    SessionConfig,
    in_effect,
)

# Close codes (RFC 6455 section 7.4.1 and the registry of IANA). After all but the
# last two OpenAI's SDK connects again; the frameworks do after any.
GOING_AWAY, INTERNAL, RESTART, TRY_AGAIN = 1001, 1011, 1012, 1013
POLICY = 1008

_TRANSCRIPTION = "conversation.item.input_audio_transcription"

# Events of a conversation, which there is none of here.
_CONVERSATION = ("conversation.", "response.", "output_audio_buffer.")


class _Refused(Exception):
    """A client's message that cannot be read."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


@dataclass(slots=True)
class _Item:
    """An utterance as the client sees it.

    Attributes:
        sent: The deltas so far, joined.
    """

    id: str
    sent: str = ""
    started: bool = False
    stopped: bool = False
    committed: bool = False


class RealtimeProtocol:
    """One connection's side of the protocol.

    Args:
        defaults: What the session has that its client did not ask for.
        config: What was asked for before the client says anything.
        default_language: omniASR id of the language that transcripts are labelled
            with if their script allows it and the client asked for none.
        new_id: Makes a new id that begins with a word and an underscore.
        describe: Writes what the model raised in words for the client.
        beta: Whether the client asked for the protocol of the beta.
    """

    def __init__(
        self,
        defaults: Defaults,
        *,
        default_language: str | None,
        new_id: Callable[[str], str],
        describe: Callable[[Exception], schemas.ErrorBody],
        config: SessionConfig | None = None,
        beta: bool = False,
    ) -> None:
        self._defaults = defaults
        self._default_language = default_language
        self._new_id = new_id
        self._describe = describe
        self._beta = beta
        self._config = config or SessionConfig()
        self._session = in_effect(self._config, defaults, new_id("sess"))
        self.n_words = 0  # of all finals
        self._items: dict[int, _Item] = {}  # by the number of their utterance
        self._last_item: str | None = None  # the last that was committed
        self._last_final = 0  # utterance
        self._close_code = GOING_AWAY
        self._last_stop = 0  # where speech ended last
        self._n_bytes = 0  # appended since the last commit
        self._commits = Commits()

    @property
    def session_id(self) -> str:
        """Names the session in the log as it does for its client."""
        return self._session.id

    @property
    def configured(self) -> Configure:
        """How audio comes and is listened to now."""
        session = self._session
        return Configure(session.encoding, session.sample_rate, session.options)

    def created(self) -> Send:
        """Return the first event, which clients wait for."""
        return self._event("session.created", session=self._session.general_form())

    def greet(self) -> list[Action]:
        """Set up the stream; the client was greeted before there was one."""
        return [self.configured]

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a message of the client; binary ones mean nothing."""
        if isinstance(message, bytes):
            return []
        event_id = None
        try:
            event = _parse(message)
            event_id = event.get("event_id")
            return self._answer(event)
        except (_Refused, BadSession) as error:
            code = error.code if isinstance(error, _Refused) else "invalid_value"
            return [
                self._event(
                    "error",
                    error={
                        "type": "invalid_request_error",
                        "code": code,
                        "message": str(error),
                        "param": error.param,
                        "event_id": event_id if isinstance(event_id, str) else None,
                    },
                )
            ]

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> list[Send]:
        """Take what the stream tells."""
        match event:
            case SpeechStarted():
                return self._speech_started(event)
            case SpeechEnded():
                return self._speech_ended(event)
            case Hypothesis():
                item = self._item(event.utterance)
                return self._delta(item, event.committed_text)
            case UtteranceFinal() | UtteranceFailed():
                return self._final(event)

    def stop(self, why: Stop) -> list[Action]:
        """Take no more audio; what was said so far is still answered."""
        self._close_code = RESTART if why is Stop.SHUTDOWN else GOING_AWAY
        return [End()]

    def finish(self, *, latency_ms: float, audio_position: int) -> list[Action]:
        """The stream has told all."""
        return [Close(self._close_code)]

    def fail(self, why: Failure) -> list[Action]:
        """The server gives the session up; clients know what to make of a close."""
        return [Close(POLICY if why is Failure.SLOW_READER else INTERNAL)]

    # --- what the client sends ---

    def _answer(self, event: Json) -> list[Action]:
        match event["type"]:
            case "input_audio_buffer.append":
                return [self._append(event)]
            case "input_audio_buffer.commit":
                return self._commit()
            case "input_audio_buffer.clear":
                return self._clear()
            case "session.update":
                return self._update(event, beta=False)
            case "transcription_session.update":
                return self._update(event, beta=True)
        if event["type"].startswith(_CONVERSATION):
            raise _Refused(
                f"{event['type']}: this server transcribes; it holds no conversation.",
                code="unsupported_event",
                param="type",
            )
        raise _Refused(
            f"There is no event {event['type'][:100]!r}.",
            code="unknown_event",
            param="type",
        )

    def _append(self, event: Json) -> Append:
        audio = event.get("audio")
        if not isinstance(audio, str):
            raise _Refused(
                "input_audio_buffer.append needs 'audio', a string of base64.",
                code="missing_required_parameter",
                param="audio",
            )
        try:
            decoded = base64.b64decode(audio, validate=True)
        except ValueError as error:  # binascii.Error, or a letter outside ASCII
            raise _Refused(
                f"'audio' is no valid base64: {error}.",
                code="invalid_base64",
                param="audio",
            ) from error
        self._n_bytes += len(decoded)
        if decoded and self._session.options.endpointing:
            self._commits.note_cuttable_audio()
        return Append(decoded)

    def _commit(self) -> list[Action]:
        if not self._n_bytes:
            raise _Refused(
                "There is no audio to commit: none was appended since the last commit.",
                code="input_audio_buffer_commit_empty",
            )
        self._n_bytes = 0
        if not self._commits.commit(turns=self._session.options.endpointing):
            return [Flush()]
        item = self._item(self._last_final + self._commits.n_open)
        return [Flush(), *self._committed(item)]

    def _clear(self) -> list[Action]:
        self._n_bytes = 0
        if not self._commits.clear():
            return [Clear()]
        for utterance, item in list(self._items.items()):
            if not item.committed:
                del self._items[utterance]
        return [Clear(), self._event("input_audio_buffer.cleared")]

    def _update(self, event: Json, *, beta: bool) -> list[Action]:
        update = event.get("session")
        if not isinstance(update, dict):
            raise _Refused(
                f"{event['type']} needs 'session', an object.",
                code="missing_required_parameter",
                param="session",
            )
        before = self.configured
        self._beta |= beta
        self._config = self._config.updated(update)
        self._session = in_effect(self._config, self._defaults, self._session.id)
        reply = (
            self._event(
                "transcription_session.updated", session=self._session.flat_form()
            )
            if beta
            else self._event("session.updated", session=self._session.general_form())
        )
        after = self.configured
        return [reply] if after == before else [after, reply]

    # --- what the stream tells ---

    def _speech_started(self, event: SpeechStarted) -> list[Send]:
        before = self._ended_before(event)
        item = self._item(event.utterance)
        if item.started:  # of audio that was cleared
            del self._items[event.utterance]
            item = self._item(event.utterance)
        item.started = True
        padded = event.position - self._session.options.pre_roll
        return [
            *before,
            self._event(
                "input_audio_buffer.speech_started",
                audio_start_ms=_milliseconds(max(padded, self._last_stop)),
                item_id=item.id,
            ),
        ]

    def _speech_ended(self, event: SpeechEnded) -> list[Send]:
        item = self._item(event.utterance)
        return [
            *self._ended_before(event),
            *self._stopped(item, event.position),
            *self._committed(item),
        ]

    def _stopped(self, item: _Item, position: int) -> list[Send]:
        if item.stopped or not item.started:
            return []
        item.stopped = True
        self._last_stop = position
        return [
            self._event(
                "input_audio_buffer.speech_stopped",
                audio_end_ms=_milliseconds(position),
                item_id=item.id,
            )
        ]

    def _ended_before(self, event: SpeechStarted | SpeechEnded) -> list[Send]:
        """End the utterances before that of an event: only one is open at a time."""
        events = []
        for number in range(self._last_final + 1, event.utterance):
            item = self._item(number)
            events += [*self._stopped(item, event.position), *self._committed(item)]
        return events

    def _committed(self, item: _Item) -> list[Send]:
        if item.committed:
            return []
        item.committed = True
        previous, self._last_item = self._last_item, item.id
        content = {"type": "input_audio", "transcript": None}
        entry = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        names = ["created"] if self._beta else ["added", "done"]
        return [
            self._event(
                "input_audio_buffer.committed",
                item_id=item.id,
                previous_item_id=previous,
            ),
            *(
                self._event(
                    f"conversation.item.{name}", previous_item_id=previous, item=entry
                )
                for name in names
            ),
        ]

    def _delta(self, item: _Item, text: str) -> list[Send]:
        """Send what a text has more than the deltas so far, if it begins with them."""
        if not text.startswith(item.sent) or text == item.sent:
            return []
        delta, item.sent = text[len(item.sent) :], text
        return [
            self._event(
                f"{_TRANSCRIPTION}.delta",
                item_id=item.id,
                content_index=0,
                delta=delta,
            )
        ]

    def _final(self, event: UtteranceFinal | UtteranceFailed) -> list[Send]:
        item = self._item(event.utterance)
        events = [*self._stopped(item, event.end), *self._committed(item)]
        if isinstance(event, UtteranceFinal):
            self.n_words += len(event.words)
            events += self._delta(item, event.text)
            events.append(self._completed(item, event))
        else:
            events.append(self._failed(item, event))
        del self._items[event.utterance]
        self._last_final = event.utterance
        if event.cause is Cause.FLUSH:
            events += [
                self._event("input_audio_buffer.cleared")
                for _ in range(self._commits.note_final())
            ]
        return events

    def _completed(self, item: _Item, event: UtteranceFinal) -> Send:
        optional: Json = {}
        if self._session.logprobs:
            probs = schemas.log_probs(event.tokens)
            optional["logprobs"] = [prob.model_dump() for prob in probs]
        language = label_language(
            event.text, hint=self._session.hint, default=self._default_language
        )
        return self._event(
            f"{_TRANSCRIPTION}.completed",
            item_id=item.id,
            content_index=0,
            transcript=event.text,
            languages=[{"code": language}] if language else [],
            usage={
                "type": "duration",
                "seconds": seconds(event.end - event.start),
            },
            **optional,
        )

    def _failed(self, item: _Item, event: UtteranceFailed) -> Send:
        error = self._describe(event.error)
        return self._event(
            f"{_TRANSCRIPTION}.failed",
            item_id=item.id,
            content_index=0,
            error=error.model_dump(),
        )

    # --- parts ---

    def _item(self, utterance: int) -> _Item:
        if utterance not in self._items:
            self._items[utterance] = _Item(self._new_id("item"))
        return self._items[utterance]

    def _event(self, type: str, **fields: Any) -> Send:
        body = {"type": type, "event_id": self._new_id("event"), **fields}
        return Send(json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def _parse(message: str) -> Json:
    """Read a message as an object with a `type`."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"This is no JSON: {error}.", code="invalid_json") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise _Refused(
            "An event is a JSON object with a string 'type'.",
            code="invalid_event",
            param="type",
        )
    return event


def _milliseconds(position: int) -> int:
    return position * 1000 // SAMPLE_RATE
