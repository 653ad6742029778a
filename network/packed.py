"""Run a batch on a CPU: windows one after another, without padding between them.

`network/batches.py` does the same for accelerators.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from audio.frames import FRAME_SHIFT, n_frames
from network.batches import Window
from network.feature_cache import FeatureCache
from network.wav2vec2 import Wav2Vec2


def normalised(window: Window, *, epsilon: float, skip: int = 0) -> Tensor:
    """Normalise a window, by default over its own samples; drop its first `skip`.

    The arithmetic is PyTorch's, so that a clip has upstream's samples to the bit.
    Source: omnilingual-asr's `apply_audio_normalization`.

    Args:
        epsilon: Added to the variance of a window's own samples.

    Returns:
        float32, shape (n_samples - skip,), on the CPU.
    """
    if given := window.normalisation:
        return (torch.tensor(window.samples[skip:]) - given.mean) / given.std
    samples = torch.tensor(window.samples)
    return layer_norm(samples, samples.shape, eps=epsilon)[skip:]


class PackedPass:
    """Computes batches of windows.

    Args:
        network: The network, with its weights on the device.
        cache: Features of live utterances.
        device: The device.
    """

    def __init__(
        self, network: Wav2Vec2, cache: FeatureCache, device: torch.device
    ) -> None:
        self._network = network
        self._cache = cache
        self._device = device

    def logits(
        self, windows: Sequence[Window], labels: Sequence[int] = ()
    ) -> tuple[Iterator[Tensor], Tensor]:
        """Compute the logits of windows of one frame or more.

        Returns:
            Logits of the next frames, as from `Wav2Vec2.encode`, and the requested
            labels, on the device.
        """
        lengths = [n_frames(len(window)) for window in windows]
        own_labels = torch.tensor(labels, dtype=torch.long, device=self._device)
        return self._network.encode(self._features(windows), lengths), own_labels

    def _features(self, windows: Sequence[Window]) -> Tensor:
        """Return the convolution features of all windows, one after another."""
        kept = [self._cache.find(window) for window in windows]
        waves = [
            self._wave(window, skip=0 if old is None else len(old) * FRAME_SHIFT)
            for window, old in zip(windows, kept, strict=True)
        ]
        n_new = [n_frames(len(wave)) for wave in waves]
        missing = [wave for wave, n in zip(waves, n_new, strict=True) if n]
        made = self._network.features(missing) if missing else kept[0]
        assert made is not None, "a window has frames, old or new"
        features = []
        rows = torch.split(made, n_new) if missing else [made[:0]] * len(windows)
        for window, old, new in zip(windows, kept, rows, strict=True):
            features.append(new if old is None else torch.cat([old, new]))
            self._cache.keep(window, features[-1])
        return torch.cat(features)

    def _wave(self, window: Window, *, skip: int) -> Tensor:
        epsilon = self._network.architecture.epsilon
        wave = normalised(window, epsilon=epsilon, skip=skip)
        return wave.to(self._device, self._network.dtype)
