"""Listen to one live stream: where utterances begin and end, and what to ask for.

Audio and its probabilities of speech go in; windows for the model come out, and events
for whoever listens. The session asks for two kinds of windows. Hypotheses
(`live/partials.py`) show words while they are spoken; there is at most one on its way,
and it takes all audio that is there when it is asked for, so a slow model makes them
rarer and never late. Finals (`live/final_pass.py`) hear each utterance whole; none is
ever left out.

Voice activity detection is listened to with two ears. What it is sure of begins an
utterance and is announced. What may be speech is given to the model, too, and nobody
hears of it unless there is a letter in it: some people's soft words are hardly told
from noise without understanding them.

An utterance ends when voice activity detection has heard enough silence, when the
model has for a while heard nothing but blanks in what is taken for speech (noise),
or when the client says so. After the latter two somebody may still be speaking, so
the next one begins at once, but it is not announced before a word is heard in it.

Decisions fall at the ends of 32 ms frames, and where the client says something; how
the audio came in blocks makes no difference.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from audio_buffer import AudioBuffer
from engine.interface import Load
from live.events import (
    Cause,
    Hypothesis,
    LiveEvent,
    SpeechEnded,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from live.options import StreamOptions
from live.utterance import SPECULATE_AFTER, Request, Utterance
from text.ctc import FrameLabels, Vocabulary
from text.word_times import SpikeOffsets
from vad.spans import (
    FAINT_PROB,
    FRAME_SAMPLES,
    START_PROB,
    STAY_PROB,
    SpeechEvent,
    SpeechSpans,
    SpeechStart,
    faint_spans,
)

# A letter in what VAD takes for silence puts the endpoint off, but not by more.
_LETTER_GRACE = round(0.6 * SAMPLE_RATE)
_LETTER_SLACK = round(0.1 * SAMPLE_RATE)

# Speech in which the model hears nothing for so long is none: after a word, and
# before the first.
_BLANK_ENDPOINT = round(1.2 * SAMPLE_RATE)
_BLANK_START = 2 * SAMPLE_RATE

# A probability that is worth a look when the client asks for a final and nothing
# was taken for speech.
_FAINT_PROB = 0.15

# Audio that is kept in silence, in frames of VAD, and the least that the ring holds.
_KEPT_FRAMES = 3 * SAMPLE_RATE // FRAME_SAMPLES
_MIN_CAPACITY = 20 * SAMPLE_RATE


class StreamSession:
    """One live stream, from its first sample to its last final.

    Args:
        vocabulary: Of the model.
        offsets: How far its labels lie inside the sound.
        options: How to listen.

    Attributes:
        load: What to save on; whoever owns the model may set it at any time.
    """

    def __init__(
        self, *, vocabulary: Vocabulary, offsets: SpikeOffsets, options: StreamOptions
    ) -> None:
        self._vocabulary = vocabulary
        self._offsets = offsets
        self._options = options
        longest = options.max_window + 4 * SAMPLE_RATE
        self._audio = AudioBuffer(capacity=max(longest, _MIN_CAPACITY))
        self._ahead: list[Samples] = []  # of a frame that is not complete
        self._n_ahead = 0
        # Probabilities of the newest frames; the last ends at `_n_frames` * 512.
        self._probabilities: deque[float] = deque(maxlen=_KEPT_FRAMES)
        self._n_frames = 0
        self._vad = self._new_vad()
        self._faint_vad = self._new_faint_vad()
        self.load = Load()
        self._open: Utterance | None = None
        self._closing: deque[Utterance] = deque()
        self._n_numbered = 0
        self._last_end = 0  # no utterance may begin before
        self._ended = False

    @property
    def position(self) -> int:
        """One past the newest sample."""
        return self._audio.end + self._n_ahead

    @property
    def n_waiting(self) -> int:
        """Samples that finals wait for."""
        waiting = sum(utterance.n_waiting for utterance in self._closing)
        return waiting + (self._open.n_waiting if self._open else 0)

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._open is not None

    @property
    def done(self) -> bool:
        """Whether the stream has ended and all finals are out."""
        return self._ended and not self._closing

    # --- what the client does ---

    def push(self, samples: Samples, probabilities: Sequence[float]) -> list[LiveEvent]:
        """Take the next samples.

        Args:
            samples: Any number; copied.
            probabilities: Of speech, of the 512-sample frames of the stream that end
                within `samples`; empty without VAD.

        Raises:
            ValueError: After `end`, or not as many probabilities as frames.
        """
        self._check_open()
        n_complete = (self.position + len(samples)) // FRAME_SAMPLES - self._n_frames
        if self._options.vad and len(probabilities) != n_complete:
            raise ValueError(f"{n_complete} frames end here, not {len(probabilities)}.")
        events: list[LiveEvent] = []
        done = 0
        for k in range(n_complete):
            end = (self._n_frames + 1) * FRAME_SAMPLES - self.position + done
            self._ahead.append(np.array(samples[done:end]))
            self._n_ahead += end - done
            done = end
            self._n_frames += 1
            events += self._step(probabilities[k : k + 1])
        self._ahead.append(np.array(samples[done:]))
        self._n_ahead += len(samples) - done
        return events

    def flush(self, cause: Cause = Cause.FLUSH) -> list[LiveEvent]:
        """Ask for the final of what came since the last one, if only an empty one."""
        self._check_open()
        events = self._catch_up()
        if self._open is None:
            start = self._faint_start()
            self._open = self._begin(start, start)
        return [*events, *self._close(cause)]

    def stall(self) -> list[LiveEvent]:
        """Nothing comes any more in mid-speech: end what is open.

        Unless only the client ends utterances: it may be silent for any reason.
        """
        if self._open is None or not self._ends_by_itself:
            return []
        return self.flush(Cause.STALLED)

    def clear(self) -> None:
        """Forget the audio since the last final; an open utterance has none."""
        self._check_open()
        self._catch_up()
        if self._open is not None:
            self._drop_open()
        self._go_on_from(self._audio.end)

    def end(self) -> list[LiveEvent]:
        """End the stream; what is open gets its final."""
        self._check_open()
        events = self._catch_up()
        if self._open is None and (start := self._faint_start()) < self._audio.end:
            self._open = self._begin(start, start)
        if self._open is not None:
            events += self._close(Cause.END)
        self._ended = True
        if self._open is not None:
            self._drop_open()
        return events

    def configure(self, options: StreamOptions) -> None:
        """Listen differently from the next utterance on.

        Raises:
            ValueError: VAD can not be switched in mid-stream.
        """
        if options.vad != self._options.vad and self.position:
            raise ValueError("Voice activity detection is chosen before any audio.")
        longest = self._audio.capacity - 4 * SAMPLE_RATE
        self._options = replace(options, max_window=min(options.max_window, longest))
        if not self._vad.speaking:
            self._vad = self._new_vad()
        if not self._faint_vad.speaking:
            self._faint_vad = self._new_faint_vad()

    # --- what the model does ---

    def requests(self) -> list[Request]:
        """Return the windows that are to be labelled next, finals first."""
        found = [
            request
            for utterance in self._closing
            for request in utterance.take_requests(self._audio, self.load)
        ]
        if self._open is not None:
            found += self._open.take_requests(self._audio, self.load)
        return found

    def replaceable(self) -> Request | None:
        """Return the hypothesis on its way, if it is time for a newer one."""
        if self._open is None:
            return None
        return self._open.replaceable(self._audio.end, self.load)

    def withdraw(self, request: Request) -> None:
        """Forget a hypothesis that never reached the model."""
        request.utterance.withdraw(request)

    def accept(self, request: Request, frames: FrameLabels) -> list[LiveEvent]:
        """Take the labels of a window that was asked for."""
        if not request.wanted:
            return []
        utterance = request.utterance
        changed = utterance.accept(request, frames)
        if request.piece is not None:
            return self._settle()
        if not changed or utterance is not self._open:
            return []
        number = self._number(utterance)
        events = self._announce(utterance)
        if self._closing:  # the final of the one before comes first
            return events
        interim = utterance.interim
        hypothesis = Hypothesis(
            utterance=number,
            start=utterance.final.start,
            position=interim.heard,
            committed=interim.committed,
            pending=interim.pending,
        )
        return [*events, hypothesis]

    def fail(self, request: Request, error: Exception) -> list[LiveEvent]:
        """Do without the labels of a window."""
        if request.wanted:
            request.utterance.fail(request, error)
        return self._settle()

    # --- frame by frame ---

    def _step(self, probabilities: Sequence[float]) -> list[LiveEvent]:
        """Take what is ahead, and the probability of the frame it completes."""
        samples = np.concatenate(self._ahead)
        self._ahead, self._n_ahead = [], 0
        self._make_room(len(samples))
        self._audio.append(samples)
        if self._options.vad:
            self._probabilities += probabilities
        elif self._open is None and len(samples):
            start = self._audio.end - len(samples)
            self._open = self._begin(start, start)
            return self._announce(self._open)
        if self._open is not None:
            self._open.add(samples, probabilities)
        events: list[LiveEvent] = []
        if self._options.vad:
            for event in self._vad.add(probabilities):
                events += self._hear(event)
            for event in self._faint_vad.add(probabilities):
                self._hear_faintly(event)
        if self._open is not None:
            self._open.speculate(self._audio.end)
        return events + self._maybe_end()

    def _catch_up(self) -> list[LiveEvent]:
        """Take the beginning of a frame: something happens in its middle."""
        return self._step(()) if self._n_ahead else []

    def _make_room(self, n: int) -> None:
        kept = self._audio.end - _KEPT_FRAMES * FRAME_SAMPLES
        if self._open is not None:
            kept = min(kept, self._open.interim.needed_from)
        # A hypothesis that comes too late for its audio goes on with what there is.
        kept = max(kept, self._audio.end + n - self._audio.capacity)
        self._audio.discard_before(min(max(kept, 0), self._audio.end))

    def _hear(self, event: SpeechEvent) -> list[LiveEvent]:
        if not isinstance(event, SpeechStart):
            if self._open is not None:
                self._open.speech_ended(event.position)
            return []
        if self._open is None:
            self._open = self._begin_at(event)
            return self._announce(self._open)
        self._open.speech_resumed()
        if not self._open.faint:
            return []
        self._open.faint = False
        if not self._open.announced:
            self._open.onset = event.position
        return self._announce(self._open)

    def _hear_faintly(self, event: SpeechEvent) -> None:
        """Follow what may be speech, while nothing surer is followed."""
        if self._open is None:
            if isinstance(event, SpeechStart):
                self._open = self._begin_at(event)
                self._open.faint = True
        elif self._open.faint:
            if isinstance(event, SpeechStart):
                self._open.speech_resumed()
            else:
                self._open.speech_ended(event.position)

    def _begin_at(self, event: SpeechStart) -> Utterance:
        start = (event.position - self._options.pre_roll) // FRAME_SAMPLES
        return self._begin(start * FRAME_SAMPLES, event.position)

    def _begin(self, start: int, onset: int) -> Utterance:
        """Begin an utterance with audio that is held already."""
        start = max(start, self._last_end, self._audio.start)
        utterance = Utterance(
            start,
            max(start, onset),
            vocabulary=self._vocabulary,
            offsets=self._offsets,
            options=self._options,
        )
        end = self._audio.end
        n_frames = end // FRAME_SAMPLES - start // FRAME_SAMPLES
        recent = list(self._probabilities)[-n_frames:] if n_frames else []
        utterance.add(np.array(self._audio.view(start, end)), recent)
        return utterance

    def _number(self, utterance: Utterance) -> int:
        if utterance.number is None:
            self._n_numbered += 1
            utterance.number = self._n_numbered
        return utterance.number

    def _announce(self, utterance: Utterance) -> list[LiveEvent]:
        """Tell that an utterance has begun, unless that is known or is not told."""
        number = self._number(utterance)
        if utterance.announced or not self._ends_by_itself:
            return []
        utterance.announced = True
        return [SpeechStarted(number, utterance.onset)]

    @property
    def _hears_sound(self) -> bool:
        """Whether there is speech, or may be, right now."""
        return self._vad.speaking or self._faint_vad.speaking

    @property
    def _ends_by_itself(self) -> bool:
        return self._options.vad and self._options.endpointing

    def _maybe_end(self) -> list[LiveEvent]:
        """End the open utterance if it is over."""
        utterance = self._open
        if utterance is None:
            return []
        if utterance.number is None and self._came_to_nothing(utterance):
            self._drop_open()
            if self._hears_sound:
                self._go_on_from(self._audio.end - _BLANK_START // 2)
            return []
        if utterance.number is None and utterance.final.awaits_labels:
            return []
        if self._ends_by_itself and (
            self._is_silent(utterance) or self._is_blank(utterance)
        ):
            return self._close(Cause.ENDPOINT)
        return []

    def _is_silent(self, utterance: Utterance) -> bool:
        """Whether there was silence for long enough.

        Where the last sound only may be speech, its end is waited for.
        """
        if utterance.quiet is None:
            return False
        needed = max(self._options.endpoint_silence, SPECULATE_AFTER)
        silence = self._audio.end - utterance.quiet
        word = utterance.interim.last_letter > utterance.quiet + _LETTER_SLACK
        if silence < needed + (_LETTER_GRACE if word else 0):
            return False
        if self._faint_vad.speaking:  # it was none
            utterance.faint = True
            utterance.speech_resumed()
            return False
        return True

    def _is_blank(self, utterance: Utterance) -> bool:
        """Whether the model hears nothing in what VAD takes for speech."""
        interim = utterance.interim
        if interim.last_letter == utterance.final.start:
            return interim.heard - utterance.onset >= _BLANK_START
        return interim.heard - interim.last_letter >= _BLANK_ENDPOINT

    def _came_to_nothing(self, utterance: Utterance) -> bool:
        """Whether an utterance that nobody knows of may be forgotten."""
        return utterance.final.heard_nothing or self._is_blank(utterance)

    def _close(self, cause: Cause) -> list[LiveEvent]:
        """End the open utterance; what comes then belongs to the next one."""
        utterance = self._open
        assert utterance is not None
        number = self._number(utterance)
        events = self._announce(utterance) if cause is Cause.ENDPOINT else []
        utterance.close(cause, self._audio.end)
        self._open = None
        self._closing.append(utterance)
        end = utterance.final.end
        if utterance.announced:
            quiet = utterance.quiet
            events.append(SpeechEnded(number, end if quiet is None else quiet))
        self._go_on_from(end)
        return events + self._settle()

    def _go_on_from(self, position: int) -> None:
        """Let the next utterance begin at a position, at once if speech goes on."""
        self._last_end = max(self._last_end, position)
        if self._options.vad and self._hears_sound:
            self._open = self._begin(self._last_end, self._audio.end)
            self._open.faint = not self._vad.speaking

    def _drop_open(self) -> None:
        assert self._open is not None
        self._open.discard()
        if self._open.number is not None:  # the next one takes it over
            self._n_numbered -= 1
        self._open = None

    def _faint_start(self) -> int:
        """Return where speech may have begun that VAD was not sure of."""
        end = self._n_frames * FRAME_SAMPLES
        n = len(self._probabilities)
        for k, probability in enumerate(self._probabilities):
            position = end - (n - k) * FRAME_SAMPLES
            if probability >= _FAINT_PROB and position >= self._last_end:
                return max(position - self._options.pre_roll, self._last_end)
        return self._audio.end

    def _settle(self) -> list[LiveEvent]:
        """Give out the finals that are there, in order."""
        events: list[LiveEvent] = []
        while self._closing and self._closing[0].settled:
            events.append(_outcome(self._closing.popleft()))
        return events

    def _new_vad(self) -> SpeechSpans:
        prob = self._options.speech_prob
        return SpeechSpans(
            min_silence=SPECULATE_AFTER,
            start_prob=prob,
            stay_prob=min(STAY_PROB, STAY_PROB / START_PROB * prob),
            position=self._n_frames * FRAME_SAMPLES,
        )

    def _new_faint_vad(self) -> SpeechSpans:
        """Hear soft speech, too, unless only what is louder than usual is wanted."""
        prob = self._options.speech_prob
        faint = FAINT_PROB / START_PROB * prob if prob <= START_PROB else prob
        return faint_spans(faint, position=self._n_frames * FRAME_SAMPLES)

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("The stream has ended.")


def _outcome(utterance: Utterance) -> UtteranceFinal | UtteranceFailed:
    number, cause = utterance.number, utterance.cause
    assert number is not None
    assert cause is not None
    start, end = utterance.final.start, utterance.final.end
    if utterance.error is not None:
        return UtteranceFailed(
            number, start, end, cause, utterance.error, utterance.decided
        )
    segments = utterance.final.segments()
    return UtteranceFinal(number, start, end, cause, segments, utterance.decided)
