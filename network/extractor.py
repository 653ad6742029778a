"""The convolutions: from samples to the features of each frame.

They are products on strided views of the samples, without a transposition around each
normalisation. The features of a frame depend on its 400 samples alone.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional

from audio.frames import FRAME_LENGTH, FRAME_SHIFT
from network.architecture import CONVOLUTIONS
from network.tensors import Weights, joined


class Convolution:
    """One convolution over time without padding, normalised and activated."""

    def __init__(self, weights: Weights, index: int) -> None:
        name = f"encoder_frontend.feature_extractor.layers.{index}"
        dtype = weights.arithmetic.products
        kernel = weights.tensor(f"{name}.conv.weight", dtype)  # (n_out, n_in, taps)
        self._taps, self._stride = CONVOLUTIONS[index]
        # Row t of a product has the taps of frame t, one after another.
        flat = kernel.permute(2, 1, 0).reshape(-1, kernel.shape[0]).contiguous()
        n_in = kernel.shape[1]
        self._split = n_in * min(self._taps, self._stride)
        self._kernel, self._last_tap = flat[: self._split], flat[self._split :]
        if n_in == 1:
            self._kernel = flat
        self._bias = weights.tensor(f"{name}.conv.bias", dtype)
        self._norm = weights.norm(f"{name}.layer_norm", dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Turn (n, n_in) into (n_frames, n_out)."""
        return functional.gelu(self._norm(self._convolved(rows)))

    def _convolved(self, rows: Tensor) -> Tensor:
        n_out = (len(rows) - self._taps) // self._stride + 1
        if rows.shape[1] == 1:
            taps = rows[:, 0].unfold(0, self._taps, self._stride)
            return torch.addmm(self._bias, taps, self._kernel)
        blocks = rows[: n_out * self._stride].reshape(n_out, -1)
        frames = torch.addmm(self._bias, blocks, self._kernel)
        if self._taps > self._stride:  # the last tap is the next block's first
            last = rows[self._stride :: self._stride]
            frames.addmm_(last, self._last_tap)
        return frames


class Extractor:
    """The convolutions: from samples to the features of each frame."""

    def __init__(self, weights: Weights) -> None:
        self._n_at_once = weights.at_once.frames
        self._arithmetic = weights.arithmetic
        self._convolutions = [
            Convolution(weights, index) for index in range(len(CONVOLUTIONS))
        ]

    def __call__(self, waves: Sequence[Tensor]) -> Tensor:
        """Turn waves of 400 samples or more into (n_frames, n_features)."""
        if len(waves) == 1:
            return self.of_wave(waves[0])
        # As one wave, in which each begins a whole number of frames after the last.
        # Frames across a border are computed and left out.
        n_frames = [(len(wave) - FRAME_LENGTH) // FRAME_SHIFT + 1 for wave in waves]
        whole = waves[0].new_zeros(FRAME_SHIFT * (sum(n_frames) + len(waves)))
        starts = [0, *accumulate(n + 1 for n in n_frames)]
        for start, n, wave in zip(starts, n_frames, waves, strict=False):
            used = wave[: (n - 1) * FRAME_SHIFT + FRAME_LENGTH]
            whole[start * FRAME_SHIFT :][: len(used)] = used
        frames = self.of_wave(whole)
        return torch.cat(
            [frames[i : i + n] for i, n in zip(starts, n_frames, strict=False)]
        )

    def of_wave(self, wave: Tensor) -> Tensor:
        """Turn one wave of 400 samples or more into (n_frames, n_features)."""
        n_frames = (len(wave) - FRAME_LENGTH) // FRAME_SHIFT + 1
        blocks = []
        for first, end in pairwise(_borders(n_frames, self._n_at_once)):
            rows = wave[first * FRAME_SHIFT : (end - 1) * FRAME_SHIFT + FRAME_LENGTH]
            rows = rows.to(self._arithmetic.products).unsqueeze(1)
            for convolution in self._convolutions:
                rows = convolution(rows)
            blocks.append(rows.to(self._arithmetic.flowing))
        return joined(blocks)


def _borders(n: int, most: int) -> list[int]:
    """Cut `n` into the fewest parts of at most `most`, about equal."""
    n_parts = -(-n // most)
    return [n * part // n_parts for part in range(n_parts + 1)]
