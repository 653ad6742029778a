"""Compute a wav2vec 2.0 CTC network, from a checkpoint's tensors.

fairseq2's module is written for training. This one only infers, and keeps every
frame a row of one matrix: convolutions over the samples are products on strided
views of it, without a transposition around each normalisation, and the windows of
a batch lie one after another, without padding between them. Only two things look
beyond a row, the positional convolution and the attention.

Frames are worked on in blocks, so that what is between two layers stays in the
processor's cache and the memory of a pass does not grow with the width of its
widest layer.

The same code is the reference of the start-up check: in float32 on the CPU, with
plain products, one layer at a time, so that it takes the memory of one layer.

Source: Baevski et al. 2020, "wav2vec 2.0", with the convolutional normalisation
and the order of layers of its large variant; tested against fairseq2's module.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from audio.frames import FRAME_LENGTH, FRAME_SHIFT
from network.architecture import CONVOLUTIONS, Architecture
from network.kernels import PLAIN, Arithmetic, Linear


@dataclass(frozen=True, slots=True)
class Blocks:
    """How much is worked on at once.

    Attributes:
        frames: Whose samples go through the convolutions.
        rows: Of a linear layer.
    """

    frames: int
    rows: int


# 1.2 s of audio, whose widest layer takes 8 MB.
_ON_CPU = Blocks(frames=60, rows=512)

# Elsewhere a block is a set of kernels to launch, and caches are small anyway: only
# memory is kept in bounds, at the longest window or 2.7 minutes of a batch.
_ELSEWHERE = Blocks(frames=2000, rows=8192)


def blocks_for(device: torch.device) -> Blocks:
    """Return what pays on a device."""
    return _ON_CPU if device.type == "cpu" else _ELSEWHERE


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint's tensors, and what they are to be computed with.

    Attributes:
        state: By the names of `Architecture.shapes`.
    """

    state: Mapping[str, Tensor]
    device: torch.device
    arithmetic: Arithmetic = PLAIN

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return one tensor, where and as it is computed with.

        It is a copy: a tensor of the checkpoint keeps the whole file mapped.

        Args:
            dtype: By default that of what flows between the layers.
        """
        dtype = dtype or self.arithmetic.flowing
        return self.state[name].to(self.device, dtype, copy=True)

    def linear(self, *names: str) -> Linear:
        """Make one layer of one or more that have the same input."""
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [self.tensor(f"{name}.bias") for name in names]
        return self.arithmetic.make_linear(_joined(weights), _joined(biases))

    def norm(self, name: str, dtype: torch.dtype | None = None) -> "LayerNorm":
        parts = (self.tensor(f"{name}.{part}", dtype) for part in ("weight", "bias"))
        return LayerNorm(*parts)


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalise every row."""

    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, self.weight.shape, self.weight, self.bias)


class Convolution:
    """One convolution over time without padding, normalised and activated."""

    def __init__(self, weights: Weights, index: int) -> None:
        name = f"encoder_frontend.feature_extractor.layers.{index}"
        dtype = weights.arithmetic.products
        kernel = weights.tensor(f"{name}.conv.weight", dtype)  # (n_out, n_in, taps)
        self._taps, self._stride = CONVOLUTIONS[index]
        # Row t of a product are the taps of frame t, one after another.
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
    """The convolutions: from samples to what the network knows of each frame."""

    def __init__(self, weights: Weights) -> None:
        self._n_at_once = blocks_for(weights.device).frames
        self._arithmetic = weights.arithmetic
        self._convolutions = [
            Convolution(weights, index) for index in range(len(CONVOLUTIONS))
        ]

    def __call__(self, waves: Sequence[Tensor]) -> Tensor:
        """Turn waves of 400 samples or more into (n_frames, n_features)."""
        if len(waves) == 1:
            return self._frames(waves[0])
        # As one wave, where each begins a whole number of frames after the last.
        # What lies across a border is computed and left out.
        n_frames = [(len(wave) - FRAME_LENGTH) // FRAME_SHIFT + 1 for wave in waves]
        whole = waves[0].new_zeros(FRAME_SHIFT * (sum(n_frames) + len(waves)))
        starts = [0, *accumulate(n + 1 for n in n_frames)]
        for start, n, wave in zip(starts, n_frames, waves, strict=False):
            used = wave[: (n - 1) * FRAME_SHIFT + FRAME_LENGTH]
            whole[start * FRAME_SHIFT :][: len(used)] = used
        frames = self._frames(whole)
        return torch.cat(
            [frames[i : i + n] for i, n in zip(starts, n_frames, strict=False)]
        )

    def _frames(self, wave: Tensor) -> Tensor:
        n_frames = (len(wave) - FRAME_LENGTH) // FRAME_SHIFT + 1
        blocks = []
        for first, end in pairwise(_borders(n_frames, self._n_at_once)):
            rows = wave[first * FRAME_SHIFT : (end - 1) * FRAME_SHIFT + FRAME_LENGTH]
            rows = rows.to(self._arithmetic.products).unsqueeze(1)
            for convolution in self._convolutions:
                rows = convolution(rows)
            blocks.append(rows.to(self._arithmetic.flowing))
        return _joined(blocks)


def _borders(n: int, most: int) -> list[int]:
    """Cut `n` into as few parts of at most `most` as there can be, about equal."""
    n_parts = -(-n // most)
    return [n * part // n_parts for part in range(n_parts + 1)]


def _cut(rows: Tensor, most: int) -> Sequence[Tensor]:
    """Cut rows into blocks of at most `most`, about equal."""
    return rows.tensor_split(-(-len(rows) // most))


class PositionalConvolution:
    """Tell each frame what is around it."""

    def __init__(self, weights: Weights, architecture: Architecture) -> None:
        name = "encoder_frontend.pos_encoder.conv"
        # The norm of the weight is stored beside its direction, for training.
        direction = weights.state[f"{name}.weight_v"].float()
        length = weights.state[f"{name}.weight_g"].float()
        norm = direction.norm(dim=(0, 1), keepdim=True)
        weight = direction * (length / norm)
        self._dtype = weights.arithmetic.products
        self._weight = weight.to(weights.device, self._dtype)
        self._bias = weights.tensor(f"{name}.bias", self._dtype)
        self._n_groups = architecture.n_position_groups

    def __call__(self, frames: Tensor) -> Tensor:
        """Turn (n_windows, n_frames, dim) into as much; beyond a window is 0."""
        kernel = self._weight.shape[2]
        moved = functional.conv1d(
            frames.to(self._dtype).transpose(1, 2),
            self._weight,
            self._bias,
            padding=kernel // 2,
            groups=self._n_groups,
        )
        # An even kernel has no middle; the frame too many is the last.
        n_frames = frames.shape[1]
        moved = moved[..., :n_frames].transpose(1, 2)
        return functional.gelu(moved).to(frames.dtype)


class Frontend:
    """From what the convolutions say to what the transformer reads."""

    def __init__(self, weights: Weights, architecture: Architecture) -> None:
        name = "encoder_frontend"
        self._norm = weights.norm(f"{name}.post_extract_layer_norm")
        same_width = architecture.n_features == architecture.model_dim
        self._proj = None if same_width else weights.linear(f"{name}.model_dim_proj")
        self._positions = PositionalConvolution(weights, architecture)

    def __call__(self, features: Tensor, lengths: Sequence[int]) -> Tensor:
        """Turn (n_frames, n_features) into (n_frames, dim)."""
        rows = self._norm(features)
        if self._proj is not None:
            rows = self._proj(rows)
        if len(set(lengths)) == 1:
            windows = rows.view(len(lengths), lengths[0], -1)
            return rows + self._positions(windows).reshape(rows.shape)
        windows = pad_sequence(list(torch.split(rows, list(lengths))), batch_first=True)
        moved = self._positions(windows)
        return rows + torch.cat(
            [window[:length] for window, length in zip(moved, lengths, strict=True)]
        )


class Layer:
    """One layer of the transformer, normalised first."""

    def __init__(self, weights: Weights, architecture: Architecture, index: int):
        name = f"encoder.layers.{index}"
        attention = f"{name}.self_attn"
        self._n_heads = architecture.n_heads
        self._arithmetic = weights.arithmetic
        self._n_at_once = blocks_for(weights.device).rows
        self._attention_norm = weights.norm(f"{name}.self_attn_layer_norm")
        self._qkv = weights.linear(
            *(f"{attention}.{part}_proj" for part in ("q", "k", "v"))
        )
        self._attended = weights.linear(f"{attention}.output_proj")
        self._ffn_norm = weights.norm(f"{name}.ffn_layer_norm")
        self._inner = weights.linear(f"{name}.ffn.inner_proj")
        self._outer = weights.linear(f"{name}.ffn.output_proj")

    def __call__(self, rows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Work on (n_frames, dim), which is changed in place and returned."""
        blocks = _cut(rows, self._n_at_once)
        flowing, products = self._arithmetic.flowing, self._arithmetic.products
        qkv = _joined(
            [self._qkv(self._attention_norm(block)).to(products) for block in blocks]
        )
        mixed = _cut(self._attend(qkv, lengths), self._n_at_once)
        for block, attended in zip(blocks, mixed, strict=True):
            block += self._attended(attended.to(flowing))
            hidden = self._inner(self._ffn_norm(block))
            block += self._outer(functional.gelu(hidden))
        return rows

    def _attend(self, qkv: Tensor, lengths: Sequence[int]) -> Tensor:
        """Let every frame look at all frames of its window, and at no other's."""
        if len(set(lengths)) == 1:
            return self._attend_equal(qkv, len(lengths))
        return torch.cat(
            [
                self._attend_equal(window, 1)
                for window in torch.split(qkv, list(lengths))
            ]
        )

    def _attend_equal(self, qkv: Tensor, n_windows: int) -> Tensor:
        n_frames, width = len(qkv), qkv.shape[1] // 3
        parts = qkv.view(n_windows, -1, 3, self._n_heads, width // self._n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self._arithmetic.attend(query, key, value)
        return mixed.transpose(1, 2).reshape(n_frames, width)


class Head:
    """From the last layer to logits."""

    def __init__(self, weights: Weights) -> None:
        self._norm = weights.norm("encoder.layer_norm")
        self._proj = weights.linear("final_proj")

    def __call__(self, rows: Tensor) -> Tensor:
        """Turn (n_frames, dim) into (n_frames, n_labels)."""
        return self._proj(self._norm(rows))


class Wav2Vec2:
    """The network, ready to compute.

    Windows of a batch lie one after another in what it takes and returns: (n_frames,
    n), and beside it the number of frames of each window.
    """

    def __init__(self, weights: Weights, architecture: Architecture) -> None:
        self.dtype = weights.arithmetic.flowing
        self._n_at_once = blocks_for(weights.device).rows
        self.features = Extractor(weights)
        self._frontend = Frontend(weights, architecture)
        self._layers = [
            Layer(weights, architecture, index)
            for index in range(architecture.n_layers)
        ]
        self._head = Head(weights)

    def encode(self, features: Tensor, lengths: Sequence[int]) -> Iterator[Tensor]:
        """Read what the convolutions say of some windows.

        Args:
            features: Shape (n_frames, n_features).
            lengths: Frames of each window, above 0; they add up to n_frames.

        Yields:
            Logits of the next frames, shape (n, n_labels), until there are
            n_frames; all of them at once would be most of the memory of a pass.
        """
        rows = self._frontend(features, lengths)
        for layer in self._layers:
            rows = layer(rows, lengths)
        for block in _cut(rows, self._n_at_once):
            yield self._head(block)


def reference_logits(
    state: Mapping[str, Tensor], architecture: Architecture, wave: Tensor
) -> Tensor:
    """Compute one wave in float32 on the CPU, plainly, a layer at a time.

    Args:
        wave: Normalised, float32, shape (n_samples,).

    Returns:
        Logits, shape (n_frames, n_labels).
    """
    weights = Weights(state, torch.device("cpu"))
    rows = Extractor(weights)([wave])
    lengths = [len(rows)]
    rows = Frontend(weights, architecture)(rows, lengths)
    for index in range(architecture.n_layers):
        rows = Layer(weights, architecture, index)(rows, lengths)
    return Head(weights)(rows)
