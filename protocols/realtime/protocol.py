"""Speak OpenAI's Realtime protocol, for transcription.

It takes messages of the client, and returns actions on the stream and messages for the
client. It takes events of the stream, and returns more messages. `sockets/session.py`
carries all this out in order.

Clients rely on more than the names of events, so these rules hold for any input:

- An utterance is one item, with one id from `speech_started` to `completed`.
- For each `committed` there is exactly one `completed` or `failed`, even for silence.
- The deltas of an item only add, never correct, and end before those of the next
  begin; `completed` has the authoritative text.
- `cleared` comes after the answers to all commits before it.
- `error` is for messages that cannot be read, since clients take it for the end.

`messages.py` reads the client's messages, `events.py` has the server's, `items.py`
knows what the client was told about each utterance, and `commits.py` decides when a
commit is answered: without turn detection at once, with it when its utterance is known.

No I/O, no clock, no asyncio: ids come from outside, times from the stream.
"""

from collections.abc import Callable
from typing import assert_never

import schemas
from audio.samples import seconds
from languages.detection import detect
from live.events import (
    Cause,
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    CloseCode,
    Configure,
    End,
    Failure,
    Flush,
    Send,
    Stop,
)
from protocols.realtime import events, messages
from protocols.realtime.commits import Commits
from protocols.realtime.events import ServerEvent
from protocols.realtime.items import Items
from protocols.realtime.messages import BadEvent
from protocols.realtime.session import BadSession, Defaults, SessionConfig, in_effect


class RealtimeProtocol:
    """One connection's side of the protocol.

    Args:
        defaults: Options that the client did not request.
        config: Options that were requested before the first message.
        default_language: omniASR id of the label of transcripts, if their script allows
            it and the client asked for no language.
        new_id: Makes a new id, which begins with a word and an underscore.
        describe: Returns the public text of the model's error.
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
        self._config = config or SessionConfig()
        self._session = in_effect(self._config, defaults, new_id("sess"))
        self.n_words = 0  # words of all finals
        self._items = Items(new_id, beta=beta)
        self._commits = Commits()
        self._close_code = CloseCode.GOING_AWAY
        self._n_bytes = 0  # audio since the last commit

    @property
    def session_id(self) -> str:
        """The id of the session, in the log and for the client."""
        return self._session.id

    @property
    def configured(self) -> Configure:
        """The format of audio and the options in effect."""
        session = self._session
        return Configure(session.encoding, session.sample_rate, session.options)

    def created(self) -> Send:
        """Return the first event, which clients wait for."""
        return _send(
            events.SessionCreated(
                event_id=self._new_id("event"), session=self._session.general_form()
            )
        )

    def greet(self) -> list[Action]:
        """Set up the stream; the client was greeted before."""
        return [self.configured]

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a message of the client; binary messages are ignored."""
        if isinstance(message, bytes):
            return []
        event_id = None
        try:
            event = messages.load(message)
            event_id = event.get("event_id")
            return self._answer(messages.read(event))
        except (BadEvent, BadSession) as error:
            mistake = events.Mistake(
                code=error.code if isinstance(error, BadEvent) else "invalid_value",
                message=str(error),
                param=error.param,
                event_id=event_id if isinstance(event_id, str) else None,
            )
            return [_send(events.Error(event_id=self._new_id("event"), error=mistake))]

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> list[Send]:
        """Take an event of the stream."""
        return [_send(each) for each in self._told(event)]

    def stop(self, why: Stop) -> list[Action]:
        """Take no more audio; the finals of earlier audio are still sent.

        OpenAI's SDK connects again after the close, for any reason.
        """
        shutdown = why is Stop.SHUTDOWN
        self._close_code = (
            CloseCode.SERVICE_RESTART if shutdown else CloseCode.GOING_AWAY
        )
        return [End()]

    def finish(self, *, latency_ms: float, audio_position: int) -> list[Action]:
        """Close, after the last event of the stream."""
        return [Close(self._close_code)]

    def fail(self, why: Failure) -> list[Action]:
        """End the session after a failure.

        No error event is sent: LiveKit would never connect again after one. OpenAI's
        SDK connects again after INTERNAL_ERROR, not after POLICY_VIOLATION.
        """
        slow = why is Failure.SLOW_READER
        code = CloseCode.POLICY_VIOLATION if slow else CloseCode.INTERNAL_ERROR
        return [Close(code)]

    # --- messages of the client ---

    def _answer(self, event: messages.ClientEvent) -> list[Action]:
        match event:
            case messages.AppendAudio():
                return [self._append(event.audio)]
            case messages.Commit():
                return self._commit()
            case messages.ClearAudio():
                return self._clear()
            case messages.Update():
                return self._update(event)
            case _:
                assert_never(event)

    def _append(self, audio: bytes) -> Append:
        self._n_bytes += len(audio)
        if audio and self._session.options.endpointing:
            self._commits.note_cuttable_audio()
        return Append(audio)

    def _commit(self) -> list[Action]:
        if not self._n_bytes:
            raise BadEvent(
                "There is no audio to commit: none was appended since the last commit.",
                code="input_audio_buffer_commit_empty",
            )
        self._n_bytes = 0
        if not self._commits.commit(turns=self._session.options.endpointing):
            return [Flush()]
        utterance = self._items.last_final + self._commits.n_open
        return [Flush(), *map(_send, self._items.commit(utterance))]

    def _clear(self) -> list[Action]:
        self._n_bytes = 0
        if not self._commits.clear():
            return [Clear()]
        self._items.clear()
        return [Clear(), _send(events.Cleared(event_id=self._new_id("event")))]

    def _update(self, event: messages.Update) -> list[Action]:
        before = self.configured
        self._items.beta |= event.beta
        config = self._config.updated(event.session)
        self._session = in_effect(config, self._defaults, self._session.id)
        self._config = config
        event_id = self._new_id("event")
        reply: ServerEvent = (
            events.FlatSessionUpdated(
                event_id=event_id, session=self._session.flat_form()
            )
            if event.beta
            else events.SessionUpdated(
                event_id=event_id, session=self._session.general_form()
            )
        )
        after = self.configured
        return [_send(reply)] if after == before else [after, _send(reply)]

    # --- events of the stream ---

    def _told(self, event: LiveEvent) -> list[ServerEvent]:
        match event:
            case SpeechStarted():
                padding = self._session.options.pre_roll
                return self._items.start(
                    event.utterance, event.position, padding=padding
                )
            case SpeechEnded():
                return self._items.end(event.utterance, event.position)
            case Partial():
                tokens = event.tokens if self._session.logprobs else None
                return self._items.extend(event.utterance, event.committed_text, tokens)
            case UtteranceFinal() | UtteranceFailed():
                return self._final(event)
            case EagerEnd() | SpeechResumed():
                return []  # this protocol does not ask for these
            case _:
                assert_never(event)

    def _final(self, event: UtteranceFinal | UtteranceFailed) -> list[ServerEvent]:
        told = self._items.end(event.utterance, event.end)
        if isinstance(event, UtteranceFinal):
            self.n_words += len(event.words)
            tokens = event.tokens if self._session.logprobs else None
            told += self._items.extend(event.utterance, event.text, tokens)
            told.append(self._completed(event))
        else:
            told.append(self._failed(event))
        self._items.close(event.utterance)
        if event.cause is Cause.FLUSH:
            told += [
                events.Cleared(event_id=self._new_id("event"))
                for _ in range(self._commits.note_final())
            ]
        return told

    def _completed(self, event: UtteranceFinal) -> events.Completed:
        found = detect(event.text, self._session.hints, default=self._default_language)
        probs = schemas.log_probs(event.tokens) if self._session.logprobs else None
        return events.Completed(
            event_id=self._new_id("event"),
            item_id=self._items.id_of(event.utterance),
            transcript=event.text,
            languages=tuple(schemas.languages(found)),
            script=found.script,
            usage=schemas.DurationUsage(seconds=seconds(event.end - event.start)),
            logprobs=None if probs is None else tuple(probs),
        )

    def _failed(self, event: UtteranceFailed) -> events.Failed:
        return events.Failed(
            event_id=self._new_id("event"),
            item_id=self._items.id_of(event.utterance),
            error=self._describe(event.error),
        )


def _send(event: ServerEvent) -> Send:
    return Send(event.model_dump_json())
