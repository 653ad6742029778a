"""Speak Deepgram's live API of Nova, `/v1/listen`: results, utterance by utterance.

It takes messages of the client, and returns actions on the stream and messages for the
client. It takes events of the stream, and returns more messages. `sockets/session.py`
carries all this out in order.

Clients rely on more than the names of messages, so these rules hold for any input:

- Each `Finalize` gets one final with `from_finalize`, even after silence.
- After `SpeechStarted` an utterance gets its final, which may be empty.
- Interim results are about one utterance, and its final about the same.
- `UtteranceEnd` comes after the final of its utterance, once, and not during new
  speech.

Committed text within an utterance is not final here: the final of the whole utterance
may still correct it.

No I/O, no clock, no asyncio: ids and times of day come from outside.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import assert_never

from audio.samples import SAMPLE_RATE, seconds
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
from live.options import StreamOptions
from protocols.actions import (
    Action,
    Append,
    Close,
    CloseCode,
    Configure,
    End,
    Failure,
    Flush,
    Send,
    Stop,
)
from protocols.deepgram import messages as wire
from protocols.deepgram.parameters import NovaParameters
from schemas import UNKNOWN_TEXT, AnswerWarning, Json

_STOP_TEXTS = {
    Stop.IDLE: "No message came for the longest idle time. Send KeepAlive.",
    Stop.TOO_LONG: "The session has reached the longest time allowed.",
    Stop.SHUTDOWN: "The server restarts.",
}


@dataclass(frozen=True, slots=True)
class Made:
    """Data about the connection and the model in results.

    Attributes:
        request_id: A UUID, the client's id of the connection.
        model_uuid: A UUID of the model.
        created: When the connection began, as ISO 8601.
        warnings: What the model's clients should know.
    """

    request_id: str
    model: wire.ModelInfo
    model_uuid: str
    created: str
    warnings: tuple[AnswerWarning, ...] = ()


class NovaProtocol:
    """One connection.

    Args:
        parameters: Parameters of its URL.
        profile: Options of the stream, except those that end an utterance.
        max_keyterms: Most key terms.
        made: Data for the results.

    Attributes:
        n_words: Words in the finals so far.
    """

    def __init__(
        self,
        parameters: NovaParameters,
        *,
        profile: StreamOptions,
        max_keyterms: int,
        made: Made,
    ) -> None:
        self._parameters = parameters
        self._profile = profile
        self._max_keyterms = max_keyterms
        self._made = made
        self._metadata = wire.ResultsMetadata(
            request_id=made.request_id,
            model_info=made.model,
            model_uuid=made.model_uuid,
        )
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0
        self._n_bytes_before = 0  # the last `KeepAlive`
        self._last_word_end: int | None = None  # for `UtteranceEnd`
        self._newest = 0  # utterance with detected speech
        self._newest_final = 0
        self._close = Close(CloseCode.NORMAL_CLOSURE)
        self._ended = False
        self.n_words = 0

    @property
    def options(self) -> StreamOptions:
        """Options of the stream."""
        silence = self._parameters.endpointing_ms * SAMPLE_RATE // 1000
        return replace(
            self._profile,
            endpointing=True,
            endpoint_silence=silence,
            keywords=self._parameters.keyterms,
        )

    @property
    def configured(self) -> Configure:
        """The format of audio and the options in effect."""
        audio = self._parameters.audio
        return Configure(audio.encoding, audio.sample_rate, self.options)

    # --- from the client ---

    def greet(self) -> list[Action]:
        """Set up the stream; clients wait for no greeting."""
        return [self.configured]

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a message of the client, text or audio."""
        if self._ended:
            return []
        if isinstance(message, bytes):
            return self._append(message) if message else self._end()
        try:
            return self._obey(wire.read(message))
        except wire.BadMessage as error:
            self._ended = True
            return _give_up("SchemaError", str(error), CloseCode.POLICY_VIOLATION)

    def stop(self, why: Stop) -> list[Action]:
        """Take no more audio; the finals of earlier audio are still sent.

        Clients connect again by themselves after any code but 1000.
        """
        if self._ended:
            return []
        shutdown = why is Stop.SHUTDOWN
        code = CloseCode.SERVICE_RESTART if shutdown else CloseCode.GOING_AWAY
        self._close = Close(code, _STOP_TEXTS[why])
        return self._end()

    def fail(self, why: Failure) -> list[Action]:
        """End the session after a failure."""
        if why is Failure.SLOW_READER:
            return [Close(CloseCode.POLICY_VIOLATION, wire.SLOW_READER)]
        return _give_up("InternalError", UNKNOWN_TEXT, CloseCode.INTERNAL_ERROR)

    def finish(self, *, latency_ms: float, audio_position: int) -> list[Action]:
        """Send the metadata and close, after the last event of the stream."""
        metadata = wire.Metadata(
            request_id=self._made.request_id,
            sha256=self._sha256.hexdigest(),
            created=self._made.created,
            duration=seconds(audio_position),
            warnings=wire.warnings_of(
                self._parameters.ignored, others=self._made.warnings
            ),
        )
        return [_send(metadata), self._close]

    def _append(self, audio: bytes) -> list[Action]:
        # For the audio before: speech in these bytes was not detected yet.
        ended = self._utterance_ended(self._position)
        self._n_bytes += len(audio)
        return [*ended, Append(audio, self._sha256.update)]

    def _end(self) -> list[Action]:
        self._ended = True
        return [End()]

    def _obey(self, message: Json) -> list[Action]:
        match message["type"]:
            case "KeepAlive":
                return self._keep_alive()
            case "Finalize":
                return [Flush()]
            case "CloseStream":
                return self._end()
            case "Configure":
                return self._configure(message)
        return []

    def _keep_alive(self) -> list[Action]:
        """Note the time; clients send these messages every few seconds."""
        paused = self._n_bytes == self._n_bytes_before
        self._n_bytes_before = self._n_bytes
        return self._utterance_ended() if paused else []

    def _configure(self, message: Json) -> list[Action]:
        """Replace the key terms, if a message has any; nothing else can be changed."""
        try:
            keyterms = wire.keyterms(message, most=self._max_keyterms)
        except wire.BadMessage as error:
            failure = wire.NovaNotConfigured(
                request_id=self._made.request_id, description=str(error)
            )
            return [_send(failure)]
        before = self.configured
        if keyterms is not None:
            self._parameters = replace(self._parameters, keyterms=keyterms)
        done = wire.NovaConfigured(request_id=self._made.request_id, keyterms=keyterms)
        changed = [] if self.configured == before else [self.configured]
        return [_send(done), *changed]

    # --- from the stream ---

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> list[Action]:
        """Take an event of the stream."""
        match event:
            case SpeechStarted():
                self._newest = event.utterance
                if not self._parameters.vad_events:
                    return []
                return [_send(wire.SpeechStarted(timestamp=seconds(event.position)))]
            case Partial():
                return self._interim(event)
            case UtteranceFinal() | UtteranceFailed():
                stalled = event.cause is Cause.STALLED
                position = None if stalled else audio_position
                return [self._final(event), *self._utterance_ended(position)]
            case SpeechEnded() | EagerEnd() | SpeechResumed():
                return []
            case _:
                assert_never(event)

    def _interim(self, event: Partial) -> list[Action]:
        words = (*event.committed, *event.pending)
        if not words:
            return []
        self._newest = event.utterance
        if not self._parameters.interim_results:
            return []
        text = event.committed_text + event.pending_text
        interim = wire.Results(
            start=seconds(event.start),
            duration=seconds(event.position - event.start),
            is_final=False,
            speech_final=False,
            from_finalize=False,
            channel=wire.Channel(alternatives=(wire.alternative(text, words),)),
            metadata=self._metadata,
        )
        return [_send(interim, droppable=True)]

    def _final(self, event: UtteranceFinal | UtteranceFailed) -> Send:
        """Write a final; a failed utterance gets an empty one."""
        if isinstance(event, UtteranceFailed):
            said = wire.alternative("", ())
        else:
            said = self._note_words(event)
        self._newest_final = event.utterance
        finalized = event.cause is Cause.FLUSH
        return _send(
            wire.Results(
                start=seconds(event.start),
                duration=seconds(event.end - event.start),
                is_final=True,
                speech_final=finalized or self._parameters.marks_endpoints,
                from_finalize=finalized,
                channel=wire.Channel(alternatives=(said,)),
                metadata=self._metadata,
            )
        )

    def _note_words(self, event: UtteranceFinal) -> wire.Alternative:
        if event.words:
            self.n_words += len(event.words)
            self._last_word_end = event.words[-1].end
        return wire.alternative(event.text, event.words)

    @property
    def _position(self) -> int:
        """Samples at 16 kHz that have come."""
        audio = self._parameters.audio
        n_samples = self._n_bytes // audio.encoding.n_bytes
        return n_samples * SAMPLE_RATE // audio.sample_rate

    def _utterance_ended(self, position: int | None = None) -> list[Action]:
        """Return `UtteranceEnd`, if no word came for long enough up to a position.

        Without a position: because no more audio comes.
        """
        last, wait_ms = self._last_word_end, self._parameters.utterance_end_ms
        speaking = self._newest > self._newest_final
        if last is None or wait_ms is None or speaking:
            return []
        silence = wait_ms * SAMPLE_RATE // 1000
        if position is not None and position - last < silence:
            return []
        self._last_word_end = None
        return [_send(wire.UtteranceEnd(last_word_end=seconds(last)))]


def _give_up(variant: str, text: str, code: int) -> list[Action]:
    error = wire.NovaError(variant=variant, description=text, message="")
    return [_send(error), Close(code, variant)]


def _send(message: wire.Message, *, droppable: bool = False) -> Send:
    return Send(message.model_dump_json(exclude_none=True), droppable)
