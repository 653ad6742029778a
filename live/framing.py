"""Cut the audio of one live stream into frames, and hold what may still be asked for.

Audio comes in blocks of any length; decisions fall at the ends of 32 ms frames, or in
the middle of one where the client says something. So what comes is cut there, and how
it came makes no difference.

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

# Audio that is held in silence, in frames, and the least that the ring has room for.
_HELD_FRAMES = 3 * SAMPLE_RATE // FRAME_SAMPLES
_MIN_CAPACITY = 20 * SAMPLE_RATE

# Room beside the longest window, for what comes while the model hears it.
_BESIDE_WINDOW = 4 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Frame:
    """The next samples up to the end of a frame, or up to the middle of one.

    Attributes:
        samples: At least one.
        probabilities: Of speech, in the frame that ends here; empty if none does, or
            without VAD.
    """

    samples: Samples
    probabilities: Sequence[float] = ()


class Framing:
    """Blocks in, frames out.

    Args:
        max_window: Longest window that is ever asked for, in samples.

    Attributes:
        audio: What is held, up to the newest frame.
        probabilities: Of the newest frames, one a frame; none without VAD.
    """

    def __init__(self, *, max_window: int) -> None:
        self.audio = AudioBuffer(
            capacity=max(max_window + _BESIDE_WINDOW, _MIN_CAPACITY)
        )
        self.probabilities: deque[float] = deque(maxlen=_HELD_FRAMES)
        self._ahead: list[Samples] = []  # of a frame that is not complete
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
        """Longest window that there is room for."""
        return self.audio.capacity - _BESIDE_WINDOW

    def cut(
        self, samples: Samples, probabilities: Sequence[float] | None
    ) -> list[Frame]:
        """Return the frames that the next samples complete; `hold` each in turn.

        Args:
            samples: Any number; copied.
            probabilities: One for each of these frames; None without VAD.

        Raises:
            ValueError: Not as many probabilities as frames; nothing was taken.
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
        """Return the beginning of a frame that is not complete, if there is one."""
        return [self._take_ahead(())] if self._n_ahead else []

    def hold(self, frame: Frame, *, needed_from: int | None) -> None:
        """Append a frame to the audio, and give up what nobody needs any more.

        Args:
            frame: The next one.
            needed_from: Position from which on audio may still be asked for, besides
                the newest; None for none. Audio for which there is no room is given
                up all the same: a hypothesis goes on with what there is.
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
        """Return what is held from a position on, and the probabilities therein."""
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
