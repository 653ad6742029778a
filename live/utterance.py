"""One utterance of a live stream: its hypotheses, its final, and what both ask for.

Knows the utterance's audio and what the model heard in it. Is told where speech fell
silent and when the utterance is over; `live/endpointing.py` decides that.

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

# The first partial comes so long after speech was first heard, the next ones in
# short hops, since somebody waits for the first word.
_FIRST_AFTER = round(0.32 * SAMPLE_RATE)
_ONSET_HOP = round(0.16 * SAMPLE_RATE)
_ONSET = round(1.3 * SAMPLE_RATE)

# A final is begun on suspicion as soon as silence is noticed: so early that it is there
# when a client asks 0.2 s after the end of speech. A long utterance costs more to hear
# and has more pauses to be wrong about, so it waits longer, one part in so many of its
# length, but not so long that the final is late at its endpoint.
_LENGTH_TO_SILENCE = 64
_LATEST_SPECULATION = round(0.3 * SAMPLE_RATE)

# After the end of speech hypotheses go on until the margin lies in silence, and a
# little longer.
_AFTERGLOW = round(0.1 * SAMPLE_RATE)


# Nobody waits for a speculation yet.
_DUE_IN_S = {
    Work.STREAM_FINAL: 0.0,
    Work.STREAM_SPECULATION: 0.15,
    Work.STREAM_PARTIAL: 0.3,
}


@dataclass(slots=True, eq=False)
class Request:
    """A window that is to be labelled.

    Attributes:
        window: For the model.
        piece: The part of a final that it is; None for a partial.
        speculative: Whether nobody waits for it yet.
        wanted: Whether its labels are still of use.
        keywords: Heard in its labels before they are given to the session.
    """

    utterance: "Utterance"
    window: ModelInput
    piece: Piece | None = None
    speculative: bool = False
    wanted: bool = True
    keywords: tuple[str, ...] = ()

    @property
    def work(self) -> Work:
        """What it is wanted for at the moment."""
        if self.piece is None:
            return Work.STREAM_PARTIAL
        return Work.STREAM_SPECULATION if self.speculative else Work.STREAM_FINAL

    def expect(self, keywords: tuple[str, ...]) -> None:
        """Have keywords heard in it; call it before it is handed out."""
        if keywords:
            self.keywords = keywords
            self.window = replace(self.window, decoding=Decoding(n_best=N_BEST))

    @property
    def due_in_s(self) -> float:
        """When it is wanted; among streams what is due first goes first."""
        return _DUE_IN_S[self.work]


class Utterance:
    """From the first sound to the final.

    Args:
        start: Sample position of its first sample.
        onset: Where speech was first heard; at or after `start`.
        vocabulary: Of the model.
        offsets: How far its labels lie inside the sound.
        options: Of the stream, for as long as the utterance lasts.

    Attributes:
        number: None while nobody knows of it.
        announced: Whether its beginning was told.
        cause: Why it ended, once it has.
        decided: Up to where audio had come then.
        error: What went wrong with its final.
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
        self._told_early: int | None = None  # its number, unless it is taken back
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
        """Whether it has ended and its final is there, or never will be."""
        return self.cause is not None and (self.error is not None or self.final.done)

    @property
    def n_waiting(self) -> int:
        """Samples of its final that are not labelled."""
        return self.final.n_waiting

    def push_audio(self, samples: Samples, probabilities: Sequence[float]) -> None:
        """Take the next samples, and the probabilities of frames that end in them."""
        if pieces := self.final.push_audio(samples, probabilities):
            self._ask(pieces)

    def speech_ended(self, position: int) -> None:
        """Silence began at a position; perhaps the utterance is over."""
        self._quiet = position
        self._may_speculate = True

    def speculate(self, position: int) -> None:
        """Begin the final on suspicion, if silence has lasted long enough by now."""
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
        """Tell what it says if it is over, once, after so much silence by now."""
        if self._quiet is None or position - self._quiet < silence:
            return None
        segments = self.final.take_supposed()
        if not segments:
            return None
        assert self.number is not None
        self._told_early = self.number
        return EagerEnd(self.number, self.start, self.final.supposed_end, segments)

    def speech_resumed(self, position: int) -> list[LiveEvent]:
        """It is not over; take back that its end was told, if it was."""
        told, self._told_early = self._told_early, None
        self._quiet, self._may_speculate = None, False
        self.final.drop_speculation()
        self._forget_unwanted()
        return [] if told is None else [SpeechResumed(told, position)]

    def close(self, cause: Cause, position: int) -> None:
        """End it where a speculation ended, else here; decided at a position."""
        self.cause = cause
        self.decided = position
        self._ask(self.final.finish())
        self._forget_unwanted()
        for request in self._finals:
            request.speculative = False
        self._drop_partial()

    def discard(self) -> None:
        """Forget it; nobody wants anything of it any more."""
        self._forget(list(self._finals))
        self._drop_partial()

    def take_requests(
        self, audio: AudioBuffer, max_left_context: int | None
    ) -> list[Request]:
        """Return the windows that are to be labelled next."""
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
        """Do without the labels of a window."""
        if request.piece is None:
            self._partial_request = None
        elif request.speculative:
            self.final.drop_speculation()
            self._forget_unwanted()
        else:
            self._forget(list(self._finals))
            self.error = error

    def partial(self) -> Partial:
        """Return what it seems to say so far; it must have a number."""
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
        """Return what it says, or why that is not known; it must be settled."""
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
