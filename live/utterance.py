"""One utterance of a live stream: its partials, its final, and the windows of both.

Knows the utterance's audio and the model's results for it. It does not decide where
speech stops and when the utterance is over; `live/endpointing.py` does.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio.samples import SAMPLE_RATE, Samples
from audio_buffer import AudioBuffer
from engine.interface import Decoding, ModelInput
from engine.work_queue import Work
from live.endpointing import MIN_SILENCE
from live.events import (
    Cause,
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechResumed,
    UtteranceFailed,
    UtteranceFinal,
)
from live.final_pass import FinalPass, Piece
from live.options import StreamOptions
from live.partials import Partials
from text.ctc import FrameLabels, Vocabulary
from text.keywords import N_BEST
from text.word_times import SpikeOffsets

# The first partial comes so long after the beginning of speech, and the next ones in
# short hops, since people wait for the first word.
_FIRST_AFTER = round(0.32 * SAMPLE_RATE)
_ONSET_HOP = round(0.16 * SAMPLE_RATE)
_ONSET = round(1.3 * SAMPLE_RATE)

# A speculation begins as soon as silence is noticed, so that its final is there when a
# client asks 0.2 s after the end of speech. A long utterance takes longer to transcribe
# and has more pauses inside, so its speculation waits for a fraction of its length, but
# not so long that the final is late at the endpoint.
_LENGTH_TO_SILENCE = 64
_LATEST_SPECULATION = round(0.3 * SAMPLE_RATE)

# After the end of speech partials go on until the margin lies in silence, and a little
# longer.
_AFTERGLOW = round(0.1 * SAMPLE_RATE)


# No client waits for a speculation yet.
_DUE_IN_S = {
    Work.STREAM_FINAL: 0.0,
    Work.STREAM_SPECULATION: 0.15,
    Work.STREAM_PARTIAL: 0.3,
}


@dataclass(slots=True, eq=False)
class Request:
    """A request to label a window.

    Attributes:
        window: The window for the model.
        piece: Its part of a final; None for a partial.
        speculative: Whether it belongs to a speculation, for which no client waits yet.
        wanted: Whether its labels are still needed.
        keywords: Keywords to find in its labels before the session gets them.
    """

    utterance: "Utterance"
    window: ModelInput
    piece: Piece | None = None
    speculative: bool = False
    wanted: bool = True
    keywords: tuple[str, ...] = ()

    @property
    def work(self) -> Work:
        """The kind of work that it is now."""
        if self.piece is None:
            return Work.STREAM_PARTIAL
        return Work.STREAM_SPECULATION if self.speculative else Work.STREAM_FINAL

    def expect(self, keywords: tuple[str, ...]) -> None:
        """Set its keywords; call it before the request is handed out."""
        if keywords:
            self.keywords = keywords
            self.window = replace(self.window, decoding=Decoding(n_best=N_BEST))

    @property
    def due_in_s(self) -> float:
        """Seconds until it is due; among streams the earliest goes first."""
        return _DUE_IN_S[self.work]


class Utterance:
    """An utterance, from its first sound to its final.

    Args:
        start: Position of its first sample.
        onset: Where its speech begins; at or after `start`.
        vocabulary: Vocabulary of the model.
        offsets: How far the model's labels lie inside the sound.
        options: Options of the stream, for the whole utterance.

    Attributes:
        number: Its number; None before the client learns of it.
        announced: Whether its beginning was announced.
        cause: Why it ended, once it has ended.
        decided: One past the newest audio when its end was decided.
        error: The error of its final.
    """

    def __init__(
        self,
        start: int,
        onset: int,
        *,
        vocabulary: Vocabulary,
        offsets: SpikeOffsets,
        options: StreamOptions,
    ) -> None:
        self.onset = onset
        self.partials = Partials(
            start, vocabulary=vocabulary, offsets=offsets, options=options
        )
        self.final = FinalPass(
            start, vocabulary=vocabulary, offsets=offsets, vad=options.vad
        )
        self.number: int | None = None
        self.announced = False
        self.cause: Cause | None = None
        self.decided = start
        self.error: Exception | None = None
        self._options = options
        self._quiet: int | None = None  # where its speech ended, unless it goes on
        self._may_speculate = False
        # Its number, if its early end was sent and not taken back.
        self._told_early: int | None = None
        self._partial_request: Request | None = None  # on its way
        self._finals: list[Request] = []  # on their way, or not handed out yet
        self._new: list[Request] = []

    # --- what `live.endpointing.Heard` asks for ---

    @property
    def known(self) -> bool:
        return self.number is not None

    @property
    def start(self) -> int:
        return self.final.start

    @property
    def heard(self) -> int:
        return self.partials.heard

    @property
    def last_letter(self) -> int:
        return self.partials.last_letter

    @property
    def heard_nothing(self) -> bool:
        return self.final.heard_nothing

    @property
    def awaits_labels(self) -> bool:
        return self.final.awaits_labels

    # --- what happens to it ---

    @property
    def settled(self) -> bool:
        """Whether it has ended, and its final is there or has failed."""
        return self.cause is not None and (self.error is not None or self.final.done)

    @property
    def n_waiting(self) -> int:
        """Samples of its final that have no labels yet."""
        return self.final.n_waiting

    def push_audio(self, samples: Samples, probabilities: Sequence[float]) -> None:
        """Take the next samples, and the probabilities of frames that end in them."""
        if pieces := self.final.push_audio(samples, probabilities):
            self._ask(pieces)

    def speech_ended(self, position: int) -> None:
        """Note that silence began at a position; the utterance may be over."""
        self._quiet = position
        self._may_speculate = True

    def speculate(self, position: int) -> None:
        """Begin a speculation, if silence has lasted long enough."""
        if not self._may_speculate or self._quiet is None:
            return
        needed = min(
            max(MIN_SILENCE, self.final.n_uncut // _LENGTH_TO_SILENCE),
            _LATEST_SPECULATION,
        )
        if position - self._quiet >= needed:
            self._may_speculate = False
            self._ask(self.final.speculate(), speculative=True)

    def end_early(self, silence: int, position: int) -> EagerEnd | None:
        """Return its early final, once, after `silence` samples of silence."""
        if self._quiet is None or position - self._quiet < silence:
            return None
        segments = self.final.take_supposed()
        if not segments:
            return None
        assert self.number is not None
        self._told_early = self.number
        return EagerEnd(self.number, self.start, self.final.supposed_end, segments)

    def speech_resumed(self, position: int) -> list[LiveEvent]:
        """Note that it is not over; take back its early final, if it was sent."""
        told, self._told_early = self._told_early, None
        self._quiet, self._may_speculate = None, False
        self.final.drop_speculation()
        self._forget_unwanted()
        return [] if told is None else [SpeechResumed(told, position)]

    def close(self, cause: Cause, position: int) -> None:
        """End it where a speculation ended, else here; `position` is that of now."""
        self.cause = cause
        self.decided = position
        self._ask(self.final.finish())
        self._forget_unwanted()
        for request in self._finals:
            request.speculative = False
        self._drop_partial()

    def discard(self) -> None:
        """Drop it; none of its labels are needed any more."""
        self._forget(list(self._finals))
        self._drop_partial()

    def take_requests(
        self, audio: AudioBuffer, max_left_context: int | None
    ) -> list[Request]:
        """Return the windows to label next."""
        requests, self._new = self._new, []
        if self._partial_request is None and self._is_due(audio.end):
            window = self.partials.window(audio, max_left_context=max_left_context)
            if window is not None:
                self._partial_request = Request(self, window)
                requests.append(self._partial_request)
        return [request for request in requests if request.wanted]

    def replaceable(self, position: int) -> Request | None:
        """Return the partial on its way, if it is time for a newer one."""
        request = self._partial_request
        if request is None:
            return None
        heard = request.window.position + len(request.window)
        return request if position - heard >= self._hop(position) else None

    def withdraw(self, request: Request) -> None:
        """Forget a partial that never reached the model."""
        request.wanted = False
        if self._partial_request is request:
            self._partial_request = None

    def accept(self, request: Request, frames: FrameLabels) -> bool:
        """Take labels; return whether there is a new partial to show."""
        if request.piece is not None:
            self._finals.remove(request)
            self.final.accept(request.piece, frames)
            return False
        self._partial_request = None
        return self.partials.accept(request.window, frames)

    def fail(self, request: Request, error: Exception) -> None:
        """Note that a window gets no labels."""
        if request.piece is None:
            self._partial_request = None
        elif request.speculative:
            self.final.drop_speculation()
            self._forget_unwanted()
        else:
            self._forget(list(self._finals))
            self.error = error

    def partial(self) -> Partial:
        """Return its text so far; it must have a number."""
        assert self.number is not None
        return Partial(
            utterance=self.number,
            start=self.start,
            position=self.partials.heard,
            committed=self.partials.committed,
            pending=self.partials.pending,
            tokens=self.partials.tokens,
        )

    def outcome(self) -> UtteranceFinal | UtteranceFailed:
        """Return its final or its failure; it must be settled."""
        number, cause = self.number, self.cause
        assert number is not None
        assert cause is not None
        start, end = self.final.start, self.final.end
        if self.error is not None:
            return UtteranceFailed(number, start, end, cause, self.error, self.decided)
        segments = self.final.segments()
        return UtteranceFinal(number, start, end, cause, segments, self.decided)

    def _is_due(self, position: int) -> bool:
        if not self._options.partials or self.cause is not None:
            return False
        heard = self.partials.heard
        if heard <= self.final.start:
            return position - self.onset >= _FIRST_AFTER
        if self._quiet is not None:
            if heard < self._quiet + _AFTERGLOW:
                return position > heard
            if heard >= self._quiet + self._options.margin + _AFTERGLOW:
                return False
        return position - heard >= self._hop(position)

    def _hop(self, position: int) -> int:
        hop = self._options.hop
        if position - self.onset < _ONSET:
            hop = min(hop, _ONSET_HOP)
        return hop

    def _ask(self, pieces: Sequence[Piece], *, speculative: bool = False) -> None:
        requests = [
            Request(self, ModelInput(piece.window.samples), piece, speculative)
            for piece in pieces
        ]
        self._finals += requests
        self._new += requests

    def _forget_unwanted(self) -> None:
        self._forget([own for own in self._finals if not self._is_wanted(own)])

    def _is_wanted(self, request: Request) -> bool:
        return request.piece is not None and self.final.wants(request.piece)

    def _forget(self, requests: Sequence[Request]) -> None:
        for request in requests:
            request.wanted = False
            self._finals.remove(request)

    def _drop_partial(self) -> None:
        if self._partial_request is not None:
            self.withdraw(self._partial_request)
