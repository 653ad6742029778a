"""Keep the convolution features of the newest window of each live utterance.

The convolutions' output for a frame depends on the 400 samples of that frame alone.
Windows of one utterance overlap almost completely and carry the same key, so most
frames of a window were computed for the window before. The features are dropped with
the key.

Belongs to the model and to its thread. A key may be dropped in any thread.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from torch import Tensor

from audio.frames import FRAME_SHIFT, n_frames


class Window(Protocol):
    """The needed parts of a window; see `engine.interface.ModelInput`."""

    @property
    def position(self) -> int: ...

    @property
    def normalisation(self) -> Hashable | None: ...

    @property
    def cache_key(self) -> object | None: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """Features of one window.

    Attributes:
        features: Shape (n_frames, n_features), on the model's device.
        position: Sample position of the first frame, a multiple of 320.
        normalisation: The normalisation of the samples; features with another one
            cannot be used.
    """

    features: Tensor
    position: int
    normalisation: Hashable


class FeatureCache:
    """The features of the newest window of every key that still exists."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, window: Window) -> Tensor | None:
        """Return the known features of the window's first frames.

        They are known if an earlier window of the same key has the same normalisation
        and holds the first frame of this one; otherwise this returns None.

        Returns:
            Shape (n_frames, n_features), n_frames above 0.

        Raises:
            ValueError: The window begins between two frames of the earlier one.
        """
        if window.cache_key is None or window.normalisation is None:
            return None
        if window.position % FRAME_SHIFT:
            raise ValueError(
                f"A window with a cache key must begin at a multiple of {FRAME_SHIFT} "
                f"samples, not at {window.position}."
            )
        kept = self._kept.get(window.cache_key)
        if kept is None or kept.normalisation != window.normalisation:
            return None
        first = (window.position - kept.position) // FRAME_SHIFT
        if not 0 <= first < len(kept.features):
            return None
        return kept.features[first : first + n_frames(len(window))]

    def keep(self, window: Window, features: Tensor) -> None:
        """Keep a window's features instead of the earlier ones of its key."""
        if window.cache_key is not None and window.normalisation is not None:
            self._kept[window.cache_key] = _Kept(
                features, window.position, window.normalisation
            )
