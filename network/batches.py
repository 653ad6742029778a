"""Run a batch on an accelerator with one copy there and few operators.

Every operator is a kernel to launch there, and a copy is a wait for all of them. So the
host normalises windows and puts their new samples into one array, with the indexes that
tell whose frames are where, and the device computes all windows as one. There are as
many operators for many windows as for one.

Windows are filled up to the longest, which the queue keeps a quarter longer at most
(`engine/work_queue.py`); what is padding is looked at by no frame, and a window gets
what it gets alone. PyTorch's own ragged tensors would spare the padding, but no MPS
computes them.

Has run on CPUs and under fake tensors of `cuda` and `mps`, on neither of the two.
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
from network.tensors import MOST_LOGITS, blocks_for
from network.wav2vec2 import Padding, Wav2Vec2

# As `layer_norm` has it, which is what upstream normalises clips with.
_EPSILON = 1e-5

# Attention with a mask is quickest where rows begin at multiples of so many.
_ALIGNED = 8


class Normalisation(Protocol):
    """What is looked at of it; see `engine.interface.Normalisation`."""

    @property
    def mean(self) -> float: ...

    @property
    def std(self) -> float: ...

    def __hash__(self) -> int: ...


class Window(Protocol):
    """What is looked at of a window; see `engine.interface.ModelInput`."""

    @property
    def samples(self) -> Samples: ...

    @property
    def position(self) -> int: ...

    @property
    def normalisation(self) -> Normalisation | None: ...

    @property
    def cache_key(self) -> object | None: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows on the device, as far as nothing is known of them.

    Attributes:
        wave: New samples, float32; a window's begin whole frames after another's.
        new_rows: Which of the wave's frames are frames of a window, int64.
        padding: Where all frames lie in the transformer.
        labels: Labels whose probabilities are wanted, int64.
    """

    wave: Tensor
    new_rows: Tensor
    padding: Padding
    labels: Tensor


def normalised(window: Window, *, skip: int = 0) -> Samples:
    """Normalise a window, by default over itself, and leave out its first samples."""
    samples = window.samples
    if given := window.normalisation:
        return (samples[skip:] - np.float32(given.mean)) / np.float32(given.std)
    mean = samples.mean(dtype=np.float64)
    variance = samples.var(dtype=np.float64)
    scale = np.float32(1 / np.sqrt(variance + _EPSILON))
    return (samples[skip:] - np.float32(mean)) * scale


def send(
    waves: Sequence[Samples],
    lengths: Sequence[int],
    device: torch.device,
    labels: Sequence[int] = (),
) -> Batch:
    """Bring windows to the device, in one copy.

    Args:
        waves: New samples of each window, normalised; less than 400 are none.
        lengths: Frames of each, new or known; above 0.
        device: Where they go.
        labels: Labels whose probabilities are wanted.
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
    # Whole numbers: what is copied as such comes over bit for bit.
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
    """Lay waves one after another, whole frames apart.

    Returns:
        The samples, and which of their frames are those of a wave: what lies across a
        border is none.
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
        network: Its weights are on the device.
        cache: Of the features of live utterances.
        device: Where it computes.
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
        """Compute what the network says of windows of a frame or more.

        Returns:
            Logits of the next frames, as `Wav2Vec2.encode`, and the labels that are
            wanted, on the device.
        """
        kept = [self._cache.find(window) for window in windows]
        waves = [
            normalised(window, skip=0 if old is None else len(old) * FRAME_SHIFT)
            for window, old in zip(windows, kept, strict=True)
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
        """Keep the features of live utterances, apart from each other."""
        ends = accumulate(n_frames(len(window)) for window in windows)
        own = [
            (window, features[end - n_frames(len(window)) : end])
            for window, end in zip(windows, ends, strict=True)
            if window.cache_key is not None and window.normalisation is not None
        ]
        if not own:
            return
        # A view would hold on to the features of the whole batch. One operator copies
        # them all.
        copies = torch._foreach_mul([rows for _, rows in own], 1)
        for (window, _), rows in zip(own, copies, strict=True):
            self._cache.keep(window, rows)


def most_samples(
    architecture: Architecture, dtype: torch.dtype, free_bytes: int
) -> int:
    """Estimate how many samples, padding included, a batch has memory for.

    What is between two layers is counted at its widest, and attention as if it wrote
    down its weights, which the quick kernels do not. Where it is wrong, the scheduler
    halves the batch.

    Args:
        architecture: Of the network.
        dtype: Of what flows between the layers.
        free_bytes: What is left once the weights are loaded.

    Returns:
        At least the longest window.
    """
    sizes, item = architecture, dtype.itemsize
    frames_at_once = blocks_for(torch.device("cuda")).frames
    # The first convolution leaves 64 rows of a frame: itself, normalised, activated.
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


# Of the free memory that batches may take; allocators leave holes.
_SHARE = 0.7
