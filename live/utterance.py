"""One utterance of a live stream: its partials, its final, and the windows of both.

Knows the utterance's audio and the model's results for it. `live/endpointing.py`
decides where speech stops and when the utterance is over, `live/cadence.py` when the
model hears it.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio.samples import Samples
from audio_buffer import AudioBuffer
from engine.interface import Decoding, ModelInput
from engine.work_queue import Work
from live.events import (
    Cause,
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechResumed,
    UtteranceFailed,
    UtteranceFinal,
)
from live.final_pass import Piece
from live.hearing import Hearing
from live.options import StreamOptions
from live.second_opinion import SecondOpinion
from text.ctc import FrameLabels
from text.keywords import N_BEST

# No client waits for a speculation yet.
_DUE_IN_S = {
    Work.STREAM_FINAL: 0.0,
    Work.STREAM_SPECULATION: 0.15,
    Work.STREAM_PARTIAL: 0.3,
}
# A strong model's speculation takes longer than many partials of a quick one.
_STRONG_SPECULATION_DUE_IN_S = 0.45


@dataclass(slots=True, eq=False)
class Request:
    """A request to label a window.

    Attributes:
        window: The window for the model.
        start: Sample position of its first sample in the stream.
        piece: Its part of a final; None for a partial.
        speculative: Whether it belongs to a speculation, for which no client waits yet.
        wanted: Whether its labels are still needed.
        keywords: Keywords to find in its labels before the session gets them.
    """

    utterance: "Utterance"
    window: ModelInput
    start: int
    piece: Piece | None = None
    speculative: bool = False
    wanted: bool = True
    keywords: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """One past the position of its last sample."""
        return self.start + len(self.window)

    @property
    def work(self) -> Work:
        """The kind of work that it is now."""
        if self.piece is None:
            return Work.STREAM_PARTIAL
        return Work.STREAM_SPECULATION if self.speculative else Work.STREAM_FINAL

    def withdraw(self) -> None:
        """Forget it: a partial that never reached the model."""
        self.utterance.withdraw(self)

    def expect(self, options: StreamOptions) -> None:
        """Set keywords and scripts; call it before the request is handed out."""
        self.keywords = options.keywords
        if options.keywords or options.scripts:
            n_best = N_BEST if options.keywords else 0
            decoding = Decoding(n_best=n_best, scripts=options.scripts)
            self.window = replace(self.window, decoding=decoding)

    @property
    def due_in_s(self) -> float:
        """Seconds until it is due; among streams the earliest goes first."""
        if self.work is Work.STREAM_SPECULATION and self.utterance.has_quick:
            return _STRONG_SPECULATION_DUE_IN_S
        return _DUE_IN_S[self.work]


class Utterance:
    """An utterance, from its first sound to its final.

    Args:
        start: Position of its first sample.
        onset: Where its speech begins; at or after `start`.
        hearing: The models that hear it.
        options: Options of the stream, for the whole utterance.

    Attributes:
        has_quick: Whether a quick model makes its partials.
        number: Its number; None before the client learns of it.
        decided: One past the newest audio when its end was decided.
    """

    def __init__(
        self, start: int, onset: int, *, hearing: Hearing, options: StreamOptions
    ) -> None:
        self.onset = onset
        self.has_quick = hearing.quick is not None
        self.partials = hearing.partials(start, options)
        self.final = hearing.final(start, options)
        self.number: int | None = None
        self.announced = False
        self.cause: Cause | None = None
        self.decided = start
        self.error: Exception | None = None
        self._options = options
        self._told_early: int | None = None  # its number, unless it is taken back
        self._cadence = hearing.cadence(start, options)
        self._partial_request: Request | None = None  # on its way
        self._doubling: Request | None = None  # a speculation that is a partial, too
        self._opinion = SecondOpinion(self.final, wanted=self.has_quick)
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
    def hearable(self) -> int:
        return self._cadence.hearable if self._options.partials else self.start

    @property
    def last_letter(self) -> int:
        return max(self.partials.last_letter, self._opinion.letter)

    @property
    def heard_nothing(self) -> bool:
        return self.final.heard_nothing

    @property
    def awaits_labels(self) -> bool:
        return self.final.awaits_labels

    @property
    def doubts_blanks(self) -> bool:
        return self._opinion.is_lacking(self.partials.last_letter)

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
        self._ask(self.final.push_audio(samples, probabilities))
        self._cadence.push_probabilities(probabilities, self.final.end)

    def speech_ended(self, position: int) -> None:
        """Note that silence began at a position; the utterance may be over."""
        self._opinion.drop()
        self._forget_unwanted()
        self._cadence.speech_ended(position)

    def speculate(self, position: int) -> None:
        """Begin a speculation, if silence has lasted long enough."""
        if self._cadence.may_speculate(position, self.final.n_uncut):
            requests = self._ask(self.final.speculate(), speculative=True)
            if self._options.partials and requests and not self.has_quick:
                self._doubling = requests[-1]

    def doubt(self) -> None:
        """Have the model of finals look for a letter where the quick one finds none."""
        self._ask(self._opinion.ask(self.partials.last_letter), speculative=True)

    def end_early(self, silence: int, position: int) -> EagerEnd | None:
        """Return its early final, once, after `silence` samples of silence."""
        quiet = self._cadence.quiet
        if quiet is None or position - quiet < silence:
            return None
        if not (segments := self.final.take_supposed()):
            return None
        assert self.number is not None
        self._told_early = self.number
        return EagerEnd(self.number, self.start, self.final.supposed_end, segments)

    def speech_resumed(self, position: int) -> list[LiveEvent]:
        """Note that it is not over; take back its early final, if it was sent."""
        told, self._told_early = self._told_early, None
        self._cadence.speech_resumed()
        self.final.drop_speculation()
        self._keep_as_partial()
        self._forget_unwanted()
        return [] if told is None else [SpeechResumed(told, position)]

    def close(self, cause: Cause, position: int) -> None:
        """End it where a speculation ended, else here; `position` is that of now."""
        self.cause = cause
        self.decided = position
        self._opinion.drop()
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
        waits = self._partial_request or self._doubling or self.cause
        wanted = self._options.partials and not waits
        if wanted and self._cadence.partial_is_due(self, audio.end):
            window = self.partials.window(audio, max_left_context=max_left_context)
            if window is not None:
                self._partial_request = Request(self, window, window.position)
                # With a quick model it is over long before anything else.
                at = 0 if self.has_quick else len(requests)
                requests.insert(at, self._partial_request)
        return [request for request in requests if request.wanted]

    def replaceable(self, position: int) -> Request | None:
        """Return the partial on its way, if it is time for a newer one."""
        request = self._partial_request
        if request is None:
            return None
        stale = position - request.end >= self._cadence.hop(self, position)
        return request if stale or self._doubling else None

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
            self._opinion.note_labels(self.partials.last_letter)
            if request is not self._doubling:
                return False
            self._doubling = None
        else:
            self._partial_request = None
        return self.partials.accept(request.start, request.end, frames)

    def fail(self, request: Request, error: Exception) -> None:
        """Note that a window gets no labels."""
        if request.piece is None:
            self._partial_request = None
            return
        self._doubling = None
        if request.speculative:
            self.final.drop_speculation()
            self._forget_unwanted()
        else:
            self._forget(list(self._finals))
            self.final.give_up()
            self.error = error

    def partial(self) -> Partial:
        """Return its text so far; it must have a number."""
        assert self.number is not None
        return self.partials.told(self.number)

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

    def _ask(
        self, pieces: Sequence[Piece], *, speculative: bool = False
    ) -> list[Request]:
        requests = []
        for piece in pieces:
            window = ModelInput(piece.window.samples)
            start = self.start + piece.window.position
            requests.append(Request(self, window, start, piece, speculative))
        self._finals += requests
        self._new += requests
        return requests

    def _keep_as_partial(self) -> None:
        """Let what was to be a part of a final, too, be no more than a partial."""
        request, self._doubling = self._doubling, None
        if request is None or self._partial_request is not None:
            return
        self._finals.remove(request)
        request.piece, request.speculative = None, False
        self._partial_request = request

    def _forget_unwanted(self) -> None:
        wants = self.final.wants
        self._forget([r for r in self._finals if r.piece and not wants(r.piece)])

    def _forget(self, requests: Sequence[Request]) -> None:
        for request in requests:
            request.wanted = False
            self._finals.remove(request)

    def _drop_partial(self) -> None:
        self._doubling = None
        if self._partial_request is not None:
            self.withdraw(self._partial_request)
