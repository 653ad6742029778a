"""Cut the audio of one live stream into frames, and hold what is still needed of it.

Audio comes in blocks of any length. Decisions fall at the ends of 32 ms frames, or
inside a frame at a message of the client. So the audio is cut there, and the lengths of
blocks make no difference.

Knows samples, probabilities of speech and positions. Does not know what an utterance
is: the caller says which audio it still needs.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from audio_buffer import AudioBuffer
from vad.spans import FRAME_SAMPLES

# Frames of audio that are held in silence, and the least room of the ring.
_HELD_FRAMES = 3 * SAMPLE_RATE // FRAME_SAMPLES
_MIN_CAPACITY = 20 * SAMPLE_RATE

# Room beside the longest window, for audio that comes while the model hears it.
_BESIDE_WINDOW = 4 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Frame:
    """The next samples up to the end of a frame, or up to the middle of one.

    Attributes:
        samples: At least one sample.
        probabilities: Probability of speech in the frame that ends here; empty if no
            frame ends here, or without VAD.
    """

    samples: Samples
    probabilities: Sequence[float] = ()


class Framing:
    """Takes blocks and gives frames.

    Args:
        max_window: Longest window that is ever asked for, in samples.

    Attributes:
        audio: The audio that is held, up to the newest frame.
        probabilities: Probabilities of the newest frames; none without VAD.
    """

    def __init__(self, *, max_window: int) -> None:
        self.audio = AudioBuffer(
            capacity=max(max_window + _BESIDE_WINDOW, _MIN_CAPACITY)
        )
        self.probabilities: deque[float] = deque(maxlen=_HELD_FRAMES)
        self._ahead: list[Samples] = []  # samples of an incomplete frame
        self._n_ahead = 0
        self._n_frames = 0  # complete

    @property
    def position(self) -> int:
        """One past the newest sample."""
        return self.audio.end + self._n_ahead

    @property
    def frames_end(self) -> int:
        """Where the newest complete frame ends."""
        return self._n_frames * FRAME_SAMPLES

    @property
    def max_window(self) -> int:
        """Longest window for which there is room."""
        return self.audio.capacity - _BESIDE_WINDOW

    def cut(
        self, samples: Samples, probabilities: Sequence[float] | None
    ) -> list[Frame]:
        """Return the frames that the next samples complete; `hold` each in turn.

        Args:
            samples: Any number of samples; they are copied.
            probabilities: One for each of these frames; None without VAD.

        Raises:
            ValueError: There are not as many probabilities as frames; no sample was
                taken.
        """
        position = self.position
        n_complete = (position + len(samples)) // FRAME_SAMPLES - self._n_frames
        if probabilities is not None and len(probabilities) != n_complete:
            raise ValueError(f"{n_complete} frames end here, not {len(probabilities)}.")
        if not n_complete:
            self._keep_ahead(np.array(samples))
            return []
        # One copy, of which frames are parts.
        whole = np.concatenate([*self._ahead, samples])
        begin = position - self._n_ahead
        frames: list[Frame] = []
        done = 0
        for k in range(n_complete):
            self._n_frames += 1
            end = self.frames_end - begin
            own = () if probabilities is None else probabilities[k : k + 1]
            frames.append(Frame(whole[done:end], own))
            done = end
        self._ahead, self._n_ahead = [], 0
        self._keep_ahead(whole[done:])
        return frames

    def cut_here(self) -> list[Frame]:
        """Return the beginning of an incomplete frame, if there is one."""
        return [self._take_ahead(())] if self._n_ahead else []

    def hold(self, frame: Frame, *, needed_from: int | None) -> None:
        """Append a frame to the audio, and discard audio that is no longer needed.

        Args:
            frame: The next frame.
            needed_from: Position from which on audio may still be asked for, besides
                the newest; None for none. Audio for which there is no room is
                discarded all the same: partials continue with the rest.
        """
        audio = self.audio
        end = audio.end
        kept = end - _HELD_FRAMES * FRAME_SAMPLES
        if needed_from is not None:
            kept = min(kept, needed_from)
        kept = max(kept, end + len(frame.samples) - audio.capacity)
        audio.discard_before(min(max(kept, 0), end))
        audio.append(frame.samples)
        self.probabilities += frame.probabilities

    def since(self, start: int) -> Frame:
        """Return the audio from a position on, and its probabilities."""
        end = self.audio.end
        n_frames = end // FRAME_SAMPLES - start // FRAME_SAMPLES
        recent = list(self.probabilities)[-n_frames:] if n_frames else []
        return Frame(np.array(self.audio.view(start, end)), recent)

    def _keep_ahead(self, samples: Samples) -> None:
        if len(samples):
            self._ahead.append(samples)
            self._n_ahead += len(samples)

    def _take_ahead(self, probabilities: Sequence[float]) -> Frame:
        samples = np.concatenate(self._ahead)
        self._ahead, self._n_ahead = [], 0
        return Frame(samples, probabilities)
