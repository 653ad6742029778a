"""Speak Deepgram's Flux, `/v2/listen`: turns, for agents that answer them.

It takes messages of the client, and returns actions on the stream and messages for the
client. It takes events of the stream, and returns more messages. `sockets/session.py`
carries all this out in order.

Clients interrupt their agent when a turn starts, answer when it ends, and begin to
answer when it may have ended; `turns.py` keeps these in order. Each `Configure` has one
answer, in order.

No I/O, no clock, no asyncio: ids come from outside, times from the stream.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, assert_never

from audio.samples import seconds
from languages.detection import detect
from languages.hints import TooManyLanguages, read_hints
from live.events import (
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
from protocols.deepgram.parameters import FluxParameters
from protocols.deepgram.thresholds import BOUNDS, BadThreshold
from protocols.deepgram.turns import Told, Turns
from schemas import UNKNOWN_TEXT, Json


class FluxProtocol:
    """One connection.

    Args:
        parameters: Parameters of its URL.
        profile: Options of the stream, except those that end a turn.
        max_keyterms: Most key terms.
        request_id: A UUID, the client's id of the connection.
        default_language: omniASR id of the label of texts, if their script allows it
            and the client asked for no language.
        explain: Returns the public text of an exception.

    Attributes:
        n_words: Words in the turns so far.
    """

    def __init__(
        self,
        parameters: FluxParameters,
        *,
        profile: StreamOptions,
        max_keyterms: int,
        request_id: str,
        default_language: str | None,
        explain: Callable[[Exception], str],
    ) -> None:
        self._parameters = parameters
        self._profile = profile
        self._max_keyterms = max_keyterms
        self._request_id = request_id
        self._default_language = default_language
        self._explain = explain
        self._hints = read_hints(None, parameters.language_hints)
        self._n_sent = 0
        self._turns = Turns()
        self._close_code: int = CloseCode.NORMAL_CLOSURE
        self._ended = False
        self.n_words = 0

    @property
    def options(self) -> StreamOptions:
        """Options of the stream."""
        thresholds = self._parameters.thresholds
        return replace(
            self._profile,
            endpointing=True,
            endpoint_silence=thresholds.endpoint_silence,
            eager_silence=thresholds.eager_silence,
            keywords=self._parameters.keyterms,
            scripts=self._hints.scripts,
        )

    @property
    def configured(self) -> Configure:
        """The format of audio and the options in effect."""
        audio = self._parameters.audio
        return Configure(audio.encoding, audio.sample_rate, self.options)

    def created(self) -> Send:
        """Return the first message, which clients wait for."""
        return self._send(wire.Connected(**self._head()))

    # --- from the client ---

    def greet(self) -> list[Action]:
        """Set up the stream; the client was greeted before."""
        return [self.configured]

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a message of the client, text or audio."""
        if self._ended:
            return []
        if isinstance(message, bytes):
            return [Append(message)] if message else []
        try:
            return self._obey(wire.read(message))
        except wire.BadMessage as error:
            self._ended = True
            return self._give_up("UNPARSABLE_CLIENT_MESSAGE", str(error))

    def stop(self, why: Stop) -> list[Action]:
        """Take no more audio; the open turn still ends.

        Clients connect again by themselves after any code but 1000.
        """
        if self._ended:
            return []
        self._ended = True
        shutdown = why is Stop.SHUTDOWN
        self._close_code = (
            CloseCode.SERVICE_RESTART if shutdown else CloseCode.GOING_AWAY
        )
        return [End()]

    def fail(self, why: Failure) -> list[Action]:
        """End the session after a failure."""
        if why is Failure.SLOW_READER:
            return [Close(CloseCode.POLICY_VIOLATION, wire.SLOW_READER)]
        return self._give_up(
            "INTERNAL_SERVER_ERROR", UNKNOWN_TEXT, close=CloseCode.INTERNAL_ERROR
        )

    def finish(self, *, latency_ms: float, audio_position: int) -> list[Action]:
        """Close, after the last event of the stream."""
        return [Close(self._close_code)]

    def _obey(self, message: Json) -> list[Action]:
        match message["type"]:
            case "CloseStream":
                self._ended = True
                return [End()]
            case "ForceEndTurn":
                return [Flush()]
            case "Configure":
                return self._configure(message)
        return []

    def _configure(self, message: Json) -> list[Action]:
        """Change the parameters that a message names; null is the default."""
        try:
            wanted = self._wanted(message)
            hints = read_hints(None, wanted.language_hints)
        except (wire.BadMessage, BadThreshold, TooManyLanguages) as error:
            code = "INVALID_CONFIGURATION"
            failure = wire.FluxNotConfigured(
                **self._head(), code=code, error_code=code, description=str(error)
            )
            return [self._send(failure)]
        before = self.configured
        self._parameters, self._hints = wanted, hints
        thresholds = wanted.thresholds
        done = wire.FluxConfigured(
            **self._head(),
            thresholds=wire.ThresholdsInEffect(
                eager_eot_threshold=thresholds.eager_eot_threshold,
                eot_threshold=thresholds.eot_threshold,
                eot_timeout_ms=thresholds.eot_timeout_ms,
            ),
            keyterms=wanted.keyterms,
            language_hints=wanted.language_hints,
        )
        after = self.configured
        changed = [] if after == before else [after]
        # Sent first: events of the stream that come meanwhile have later numbers.
        return [self._send(done), *changed]

    def _wanted(self, message: Json) -> FluxParameters:
        """Return the parameters as a message changes them.

        Raises:
            BadMessage, BadThreshold: A value is not allowed.
        """
        wanted = self._parameters
        if "thresholds" in message:
            numbers = _numbers(message["thresholds"])
            wanted = replace(wanted, thresholds=wanted.thresholds.updated(numbers))
        if "keyterms" in message:
            keyterms = wire.keyterms(message, most=self._max_keyterms) or ()
            wanted = replace(wanted, keyterms=keyterms)
        if "language_hints" in message:
            hints = wire.strings(message, "language_hints") or ()
            wanted = replace(wanted, language_hints=hints)
        return wanted

    # --- from the stream ---

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> list[Action]:
        """Take an event of the stream."""
        thresholds = self._parameters.thresholds
        match event:
            case SpeechStarted() | SpeechEnded():
                return []  # it may be a cough
            case Partial():
                return self._info(self._turns.extend(event))
            case EagerEnd():
                return self._info(self._turns.end_early(event, thresholds))
            case SpeechResumed():
                return self._info(self._turns.resume())
            case UtteranceFinal():
                return self._info(self._turns.end(event, thresholds))
            case UtteranceFailed():
                warning = wire.FluxWarning(
                    **self._head(),
                    code="TRANSCRIPTION_FAILED",
                    description=self._explain(event.error),
                )
                end = self._turns.end(event, thresholds)
                return [self._send(warning), *self._info(end)]
            case _:
                assert_never(event)

    # --- what is sent ---

    def _info(self, told: Sequence[Told]) -> list[Action]:
        return [self._turn_info(one) for one in told]

    def _turn_info(self, told: Told) -> Send:
        said = told.said
        if told.kind == "EndOfTurn":
            self.n_words += len(said.words)
        found = detect(said.text, self._hints, default=self._default_language)
        info = wire.TurnInfo(
            **self._head(),
            event=told.kind,
            turn_index=told.index,
            audio_window_start=seconds(said.start),
            audio_window_end=seconds(said.end),
            transcript=said.text,
            words=wire.flux_words(said.words),
            end_of_turn_confidence=told.confidence,
            trigger=told.trigger,
            languages=(found.tag,) if found.tag else None,
            languages_hinted=self._parameters.language_hints or None,
        )
        return self._send(info, droppable=told.kind == "Update")

    def _give_up(
        self, code: str, text: str, *, close: int = CloseCode.POLICY_VIOLATION
    ) -> list[Action]:
        number = self._head()["sequence_id"]
        error = wire.FluxError(sequence_id=number, code=code, description=text)
        return [self._send(error), Close(close, code)]

    def _head(self) -> dict[str, Any]:
        """Return the first fields of every message; each message counts."""
        head = {"request_id": self._request_id, "sequence_id": self._n_sent}
        self._n_sent += 1
        return head

    def _send(self, message: wire.Message, *, droppable: bool = False) -> Send:
        return Send(message.model_dump_json(exclude_none=True), droppable)


def _numbers(thresholds: object) -> dict[str, float | None]:
    """Return the thresholds that an object names; null names all of them.

    Raises:
        BadMessage: One of them is not a number.
    """
    if thresholds is None:
        return dict.fromkeys(BOUNDS)
    if not isinstance(thresholds, dict):
        raise wire.BadMessage("thresholds must be an object.")
    found: dict[str, float | None] = {}
    for name in BOUNDS:
        if name not in thresholds:
            continue
        value = thresholds[name]
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise wire.BadMessage(f"thresholds.{name} must be a number or null.")
        try:
            found[name] = None if value is None else float(value)
        except OverflowError:
            found[name] = float("inf")  # which is out of range
    return found
