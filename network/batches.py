"""Run a batch on an accelerator with one copy to it and few operators.

Every operator launches a kernel there, and every copy waits for all kernels. So the
host normalises windows and puts their new samples into one array, with the indexes of
each window's frames, and the device computes all windows as one. Many windows need no
more operators than one.

Windows are padded to the length of the longest, which the queue keeps at most a quarter
longer (`engine/work_queue.py`). No frame hears the padding, so a window gets the same
labels as alone. PyTorch's ragged tensors would avoid the padding, but MPS does not
support them.

This code has run on CPUs and with fake tensors of `cuda` and `mps`, but not on either
device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES, n_frames
from audio.samples import Samples
from network.architecture import Architecture
from network.feature_cache import FeatureCache
from network.feature_cache import Window as CachedWindow
from network.tensors import MOST_LOGITS, blocks_for
from network.wav2vec2 import Padding, Wav2Vec2

# Attention with a mask is fastest if rows begin at multiples of this.
_ALIGNED = 8


class Normalisation(Protocol):
    """The needed parts of `engine.interface.Normalisation`."""

    @property
    def mean(self) -> float: ...

    @property
    def std(self) -> float: ...

    def __hash__(self) -> int: ...


class Window(CachedWindow, Protocol):
    """The needed parts of a window; see `engine.interface.ModelInput`."""

    @property
    def samples(self) -> Samples: ...

    @property
    def normalisation(self) -> Normalisation | None: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """The new parts of windows, on the device.

    Attributes:
        wave: New samples of all windows, float32; each window begins a whole number of
            frames after the last.
        new_rows: Indexes of the wave's frames that belong to a window, int64.
        padding: Where all frames lie in the transformer.
        labels: Labels whose probabilities are requested, int64.
    """

    wave: Tensor
    new_rows: Tensor
    padding: Padding
    labels: Tensor


def normalised(window: Window, *, epsilon: float, skip: int = 0) -> Samples:
    """Normalise a window, by default over itself, and drop its first `skip` samples.

    On the host and in numpy, so that one copy takes all windows to the device.

    Args:
        epsilon: Added to the variance of a window's own samples.
    """
    samples = window.samples
    if given := window.normalisation:
        return (samples[skip:] - np.float32(given.mean)) / np.float32(given.std)
    mean = samples.mean(dtype=np.float64)
    variance = samples.var(dtype=np.float64)
    scale = np.float32(1 / np.sqrt(variance + epsilon))
    return (samples[skip:] - np.float32(mean)) * scale


def send(
    waves: Sequence[Samples],
    lengths: Sequence[int],
    device: torch.device,
    labels: Sequence[int] = (),
) -> Batch:
    """Copy windows to the device, in one copy.

    Args:
        waves: New samples of each window, normalised; fewer than 400 count as none.
        lengths: Number of frames of each window, new or known; above 0.
        device: The device.
        labels: Labels whose probabilities are requested.
    """
    wave, new_rows = _one_wave(waves)
    longest = max(lengths)
    ragged = len(set(lengths)) > 1
    if ragged:
        longest = -(-longest // _ALIGNED) * _ALIGNED
    rows = [k * longest + np.arange(n) for k, n in enumerate(lengths)]
    parts = [np.asarray(labels), new_rows, np.concatenate(rows), np.asarray(lengths)]
    edges = [0, *accumulate(map(len, parts))]
    numbers = np.concatenate(parts).astype(np.int32)
    # As integers, which are copied bit by bit.
    host = torch.from_numpy(np.concatenate([wave.view(np.int32), numbers]))
    sent = host.to(device)
    indexes = sent[len(wave) :].long()
    own_labels, own_new, own_rows, own_lengths = (
        indexes[start:end] for start, end in pairwise(edges)
    )
    mask = None
    if ragged:
        frames = torch.arange(longest, device=device)
        mask = (frames < own_lengths[:, None])[:, None, None]
    padding = Padding(len(lengths), longest, own_rows, mask)
    return Batch(sent[: len(wave)].view(torch.float32), own_new, padding, own_labels)


def _one_wave(waves: Sequence[Samples]) -> tuple[Samples, NDArray[np.intp]]:
    """Join waves, a whole number of frames apart.

    Returns:
        The samples, and the indexes of the frames that belong to a wave: frames across
        a border do not.
    """
    known = [(wave, n_frames(len(wave))) for wave in waves]
    some = [(wave, n) for wave, n in known if n]
    starts = [0, *accumulate(n + 1 for _, n in some)]
    whole = np.zeros(FRAME_SHIFT * starts[-1], np.float32)
    rows = [np.empty(0, np.intp)]
    for start, (wave, n) in zip(starts, some, strict=False):
        room = whole[start * FRAME_SHIFT : (start + n + 1) * FRAME_SHIFT]
        used = wave[: len(room)]
        room[: len(used)] = used
        rows.append(np.arange(start, start + n))
    return whole, np.concatenate(rows)


class PaddedPass:
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
        kept = [self._cache.find(window) for window in windows]
        skips = [0 if old is None else len(old) * FRAME_SHIFT for old in kept]
        epsilon = self._network.architecture.epsilon
        waves = [
            normalised(window, epsilon=epsilon, skip=skip)
            for window, skip in zip(windows, skips, strict=True)
        ]
        lengths = [n_frames(len(window)) for window in windows]
        batch = send(waves, lengths, self._device, labels)
        features = self._features(windows, waves, kept, batch)
        return self._network.encode_padded(features, batch.padding), batch.labels

    def _features(
        self,
        windows: Sequence[Window],
        waves: Sequence[Samples],
        kept: Sequence[Tensor | None],
        batch: Batch,
    ) -> Tensor:
        """Return the features of all windows, one after another; keep them."""
        n_new = [n_frames(len(wave)) for wave in waves]
        edges = pairwise([0, *accumulate(n_new)])
        parts = [old for old in kept if old is not None]
        if any(n_new):
            made = self._network.features.of_wave(batch.wave)
            made = made.index_select(0, batch.new_rows)
            new = [made[start:end] for start, end in edges]
            pairs = zip(kept, new, strict=True)
            parts = [part for pair in pairs for part in pair if part is not None]
        features = torch.cat(parts) if len(parts) > 1 else parts[0]
        self._keep(windows, features)
        return features

    def _keep(self, windows: Sequence[Window], features: Tensor) -> None:
        """Keep the features of each live utterance separately."""
        ends = accumulate(n_frames(len(window)) for window in windows)
        own = [
            (window, features[end - n_frames(len(window)) : end])
            for window, end in zip(windows, ends, strict=True)
            if window.cache_key is not None and window.normalisation is not None
        ]
        if not own:
            return
        # A view would keep the features of the whole batch alive. One operator copies
        # them all.
        copies = torch._foreach_mul([rows for _, rows in own], 1)
        for (window, _), rows in zip(own, copies, strict=True):
            self._cache.keep(window, rows)


def most_samples(
    architecture: Architecture, dtype: torch.dtype, free_bytes: int
) -> int:
    """Estimate for how many samples of a batch, padding included, there is memory.

    The data between two layers counts at its widest, and attention as if it stored its
    weights, which the fast kernels do not. If the estimate is too high, the scheduler
    halves the batch.

    Args:
        architecture: Architecture of the network.
        dtype: Data type between the layers.
        free_bytes: Free memory after the weights are loaded.

    Returns:
        At least the longest window.
    """
    sizes, item = architecture, dtype.itemsize
    frames_at_once = blocks_for(torch.device("cuda")).frames
    # The first convolution makes 64 rows per frame: its output, normalised, activated.
    extracting = 3 * 64 * max(sizes.channels) * item * frames_at_once
    reading_out = MOST_LOGITS * sizes.n_labels * (item + 8)
    longest = n_frames(MAX_WINDOW_SAMPLES)
    a_frame = item * (
        12 * sizes.model_dim
        + 2 * sizes.ffn_dim
        + 3 * sizes.n_features
        + sizes.n_heads * longest
    )
    left = _SHARE * free_bytes - extracting - reading_out
    return max(MAX_WINDOW_SAMPLES, int(left / a_frame) * FRAME_SHIFT)


# Share of the free memory that batches may use; allocators leave gaps.
_SHARE = 0.7
