"""Run one live stream: takes audio, gives windows for the model and events.

The session carries out what its parts decide. `live/framing.py` cuts the audio into
frames and holds it. `live/endpointing.py` has the rules for where utterances begin and
end. `live/utterance.py` says what the model should hear of an utterance. Partials show
words while they are spoken; at most one is on its way, and it covers all audio up to
its request, so a slow model makes partials rarer, but not late. Each utterance gets a
final of its whole audio; none is ever left out. `live/order.py` keeps events in order.

Knows which utterance is open, and what the client and the model did. Does not know the
rules.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

from audio.samples import Samples
from engine.interface import QuickModel
from live.endpointing import (
    BecomeSure,
    Begin,
    Decision,
    Doubt,
    Drop,
    End,
    Endpointing,
    FallSilent,
    GoOn,
)
from live.events import Cause, LiveEvent, SpeechEnded, SpeechStarted
from live.framing import Frame, Framing
from live.hearing import Hearing
from live.options import StreamOptions
from live.order import Order
from live.utterance import Request, Utterance
from text.ctc import FrameLabels, Vocabulary
from text.word_times import SpikeOffsets


class StreamSession:
    """One live stream, from its first sample to its last final.

    Args:
        vocabulary: Vocabulary of the model.
        offsets: How far the model's labels lie inside the sound.
        options: Options of the stream.
        quick: A second model, which makes partials; None if the first makes them, too.

    Attributes:
        max_left_context: Most samples of left context that partials have under
            overload; None for no limit. It may be set at any time.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        offsets: SpikeOffsets,
        options: StreamOptions,
        quick: QuickModel | None = None,
    ) -> None:
        self._new = partial(Utterance, hearing=Hearing(vocabulary, offsets, quick))
        self._options = options
        self._framing = Framing(max_window=options.max_window)
        self._endpointing = Endpointing(options)
        self._order = Order()
        self._open: Utterance | None = None
        self._ended = False
        self.max_left_context: int | None = None

    @property
    def position(self) -> int:
        """One past the newest sample."""
        return self._framing.position

    @property
    def n_waiting(self) -> int:
        """Samples that finals wait for."""
        return self._order.n_waiting + (self._open.n_waiting if self._open else 0)

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._open is not None

    @property
    def done(self) -> bool:
        """Whether the stream has ended and all finals are out."""
        return self._ended and self._order.all_told

    # --- what the client does ---

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[LiveEvent]:
        """Take the next samples, any number of them; they are copied.

        Args:
            samples: The samples, shape (n_samples,).
            probabilities: Probability of speech for each 512-sample frame of the
                stream that ends within `samples`; empty without VAD.

        Raises:
            ValueError: After `end`, or not as many probabilities as frames.
        """
        self._check_open()
        heard = probabilities if self._options.vad else None
        frames = self._framing.cut(samples, heard)
        return [event for frame in frames for event in self._step(frame)]

    def flush(self, cause: Cause = Cause.FLUSH) -> list[LiveEvent]:
        """Ask for the final of the audio since the last one; it may be empty."""
        self._check_open()
        events = self._catch_up()
        utterance = self._open or self._since(self._first_sign())
        return [*events, *self._close(utterance, cause)]

    def stall(self) -> list[LiveEvent]:
        """End the open utterance in mid-speech, unless only the client ends them."""
        may_end = self._open is not None and self._endpointing.by_itself
        return self.flush(Cause.STALLED) if may_end else []

    def clear(self) -> list[LiveEvent]:
        """Forget the audio since the last final; an open utterance gets no final."""
        self._check_open()
        events = self._catch_up()  # utterances that are over by now still get theirs
        self._drop_open()
        self._carry_out(self._endpointing.go_on_from(self._end, self._end))
        return events

    def end(self) -> list[LiveEvent]:
        """End the stream; an open utterance gets its final."""
        self._check_open()
        events = self._catch_up()
        if self._open is None and (start := self._first_sign()) < self._end:
            self._open = self._since(start)
        if self._open is not None:
            events += self._close(self._open, Cause.END)
        self._ended = True
        self._drop_open()
        return events

    def configure(self, options: StreamOptions) -> None:
        """Change options, keywords and scripts at once, others with the next utterance.

        Raises:
            ValueError: VAD cannot be switched in mid-stream.
        """
        if options.vad != self._options.vad and self.position:
            raise ValueError("Voice activity detection cannot change in mid-stream.")
        longest = min(options.max_window, self._framing.max_window)
        self._options = replace(options, max_window=longest)
        self._endpointing.configure(self._options, self._framing.frames_end)

    # --- what the model does ---

    def requests(self) -> list[Request]:
        """Return the windows to label next, finals of ended utterances first."""
        audio, context = self._framing.audio, self.max_left_context
        of_open = self._open.take_requests(audio, context) if self._open else []
        found = [*self._order.requests(audio, context), *of_open]
        for request in found:
            request.expect(self._options)
        return found

    def replaceable(self) -> Request | None:
        """Return the partial on its way, if it is time for a newer one."""
        return self._open.replaceable(self._end) if self._open else None

    def accept(self, request: Request, frames: FrameLabels) -> list[LiveEvent]:
        """Take the labels of a requested window."""
        if not request.wanted:
            return []
        utterance = request.utterance
        changed = utterance.accept(request, frames)
        events: list[LiveEvent] = [*self._order.settle()]
        if utterance is self._open and utterance.last_letter > utterance.start:
            events += self._announce(utterance)
            if changed and self._order.all_told:  # or a final comes first
                events.append(utterance.partial())
        return [*events, *self._tell_early()]

    def fail(self, request: Request, error: Exception) -> list[LiveEvent]:
        """Note that a window gets no labels."""
        if request.wanted:
            request.utterance.fail(request, error)
        return [*self._order.settle(), *self._tell_early()]

    # --- frame by frame ---

    @property
    def _end(self) -> int:
        """One past the newest sample that was processed."""
        return self._framing.audio.end

    def _step(self, frame: Frame) -> list[LiveEvent]:
        """Process the next frame."""
        begin = self._end
        needed = None if self._open is None else self._open.partials.needed_from
        self._framing.hold(frame, needed_from=needed)
        if self._open is not None:
            self._open.push_audio(frame.samples, frame.probabilities)
        events = self._carry_out(self._endpointing.hear(frame.probabilities, begin))
        if self._open is not None:
            self._open.speculate(self._end)
            events += self._carry_out(self._endpointing.judge(self._open, self._end))
        return [*events, *self._tell_early()]

    def _catch_up(self) -> list[LiveEvent]:
        """Process the beginning of a frame, before an event in its middle."""
        return [e for frame in self._framing.cut_here() for e in self._step(frame)]

    def _carry_out(self, decisions: Sequence[Decision]) -> list[LiveEvent]:
        return [event for one in decisions for event in self._do(one)]

    def _do(self, decision: Decision) -> list[LiveEvent]:
        if isinstance(decision, Begin):
            self._open = self._since(decision.start, decision.onset)
            return self._announce(self._open) if decision.announced else []
        utterance = self._open
        assert utterance is not None
        match decision:
            case BecomeSure():
                if not utterance.announced:
                    utterance.onset = decision.onset
                return self._announce(utterance)
            case FallSilent():
                utterance.speech_ended(decision.position)
            case GoOn():
                return utterance.speech_resumed(self._end)
            case End():
                return self._close(utterance, Cause.ENDPOINT)
            case Drop():
                self._drop_open()
            case Doubt():
                utterance.doubt()
            case _:
                assert_never(decision)
        return []

    def _since(self, start: int, onset: int = 0) -> Utterance:
        """Begin an utterance with audio that is held already, as far as it is."""
        start = max(start, self._framing.audio.start)
        utterance = self._new(start, max(start, onset), options=self._options)
        held = self._framing.since(start)
        utterance.push_audio(held.samples, held.probabilities)
        return utterance

    def _announce(self, utterance: Utterance) -> list[LiveEvent]:
        """Announce an utterance, unless that was done or is not wanted."""
        number = self._order.number(utterance)
        if utterance.announced or not self._endpointing.by_itself:
            return []
        utterance.announced = True
        return [SpeechStarted(number, utterance.onset)]

    def _tell_early(self) -> list[LiveEvent]:
        """Return the early final of the open utterance, if it is wanted."""
        return self._order.tell_early(self._open, self._options, self._end)

    def _close(self, utterance: Utterance, cause: Cause) -> list[LiveEvent]:
        """End the open utterance; later audio belongs to the next one."""
        events = self._announce(utterance) if cause is Cause.ENDPOINT else []
        utterance.close(cause, self._end)
        self._open = None
        self._order.note_end(utterance)
        end = utterance.final.end
        if utterance.announced:
            position = end if (quiet := self._endpointing.quiet) is None else quiet
            events.append(SpeechEnded(self._order.number(utterance), position))
        self._carry_out(self._endpointing.go_on_from(end, self._end))
        return [*events, *self._order.settle()]

    def _drop_open(self) -> None:
        if self._open is not None:
            self._open.discard()
            self._order.forget(self._open)
            self._open = None

    def _first_sign(self) -> int:
        """Return where undetected speech may have begun."""
        framing = self._framing
        sign = self._endpointing.first_sign(framing.probabilities, framing.frames_end)
        return self._end if sign is None else sign

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("The stream has ended.")
