"""Compute a wav2vec 2.0 CTC network, from a checkpoint's tensors.

fairseq2's module is written for training. This one only infers, and keeps every
frame a row of one matrix: convolutions over the samples are products on strided
views of it, without a transposition around each normalisation, and the windows of
a batch lie one after another, without padding between them. Only two things look
beyond a row, the positional convolution and the attention.

On an accelerator, where every operator launches a kernel, the transformer computes
windows that are padded to the longest, so that many need no more operators than one;
see `network/batches.py`.

The same code is the reference of the start-up check: in float32 on the CPU, with
plain products, one layer at a time, so that it takes the memory of one layer.

Source: Baevski et al. 2020, "wav2vec 2.0", with the convolutional normalisation
and the order of layers of its large variant; tested against fairseq2's module.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from network.architecture import Architecture
from network.extractor import Extractor
from network.tensors import MOST_LOGITS, Weights, cut_rows, joined


@dataclass(frozen=True, slots=True)
class Padding:
    """Where the frames of windows lie after padding to one length.

    Attributes:
        n_windows: Number of windows.
        n_frames: Frames of each window with its padding.
        rows: Row of each frame, window after window, int64, shape (n,).
        mask: Whether a row is a frame, shape (n_windows, 1, 1, n_frames); None if all
            are.
    """

    n_windows: int
    n_frames: int
    rows: Tensor
    mask: Tensor | None


# With fewer channels in a group, a kernel of oneDNN in PyTorch 2.8 returns garbage in
# bfloat16 on processors with AMX, without an error. Released models have 64 and more.
_FEWEST_CHANNELS = 16


class PositionalConvolution:
    """Adds to each frame what is around it."""

    def __init__(self, weights: Weights, architecture: Architecture) -> None:
        name = "encoder_frontend.pos_encoder.conv"
        if architecture.plain_positions:
            weight = weights.state[f"{name}.weight"].float()
        else:  # in training, its norm is stored beside its direction
            direction = weights.state[f"{name}.weight_v"].float()
            length = weights.state[f"{name}.weight_g"].float()
            norm = direction.norm(dim=(0, 1), keepdim=True)
            weight = direction * (length / norm)
        self._dtype = weights.arithmetic.products
        if weight.shape[1] < _FEWEST_CHANNELS and weights.device.type == "cpu":
            self._dtype = torch.float32
        # A copy: a tensor of the checkpoint keeps the whole file mapped.
        self._weight = weight.to(weights.device, self._dtype, copy=weights.lasting)
        self._bias = weights.tensor(f"{name}.bias", self._dtype)
        self._n_groups = architecture.n_position_groups

    def __call__(self, frames: Tensor) -> Tensor:
        """Map (n_windows, n_frames, dim) to the same shape; outside a window is 0."""
        kernel = self._weight.shape[2]
        moved = functional.conv1d(
            frames.to(self._dtype).transpose(1, 2),
            self._weight,
            self._bias,
            padding=kernel // 2,
            groups=self._n_groups,
        )
        # An even kernel has no middle; the extra frame is the last one.
        n_frames = frames.shape[1]
        moved = moved[..., :n_frames].transpose(1, 2)
        return functional.gelu(moved).to(frames.dtype)


class Frontend:
    """From the convolutions' features to the transformer's input."""

    def __init__(self, weights: Weights, architecture: Architecture) -> None:
        name = "encoder_frontend"
        self._norm = weights.norm(f"{name}.post_extract_layer_norm")
        same_width = architecture.n_features == architecture.model_dim
        self._proj = None if same_width else weights.linear(f"{name}.model_dim_proj")
        self._positions = PositionalConvolution(weights, architecture)

    def __call__(self, features: Tensor, lengths: Sequence[int]) -> Tensor:
        """Turn (n_frames, n_features) into (n_frames, dim)."""
        rows = self._projected(features)
        if len(set(lengths)) == 1:
            windows = rows.view(len(lengths), lengths[0], -1)
            return rows + self._positions(windows).reshape(rows.shape)
        windows = pad_sequence(list(torch.split(rows, list(lengths))), batch_first=True)
        moved = self._positions(windows)
        return rows + torch.cat(
            [window[:length] for window, length in zip(moved, lengths, strict=True)]
        )

    def padded(self, features: Tensor, padding: Padding) -> Tensor:
        """Turn (n_frames, n_features) into (n_windows * longest, dim)."""
        rows = self._projected(features)
        whole = rows.new_zeros(padding.n_windows * padding.n_frames, rows.shape[1])
        whole.index_copy_(0, padding.rows, rows)
        windows = whole.view(padding.n_windows, padding.n_frames, -1)
        return whole + self._positions(windows).reshape(whole.shape)

    def _projected(self, features: Tensor) -> Tensor:
        rows = self._norm(features)
        return rows if self._proj is None else self._proj(rows)


class Layer:
    """One layer of the transformer, normalised first."""

    def __init__(self, weights: Weights, architecture: Architecture, index: int):
        name = f"encoder.layers.{index}"
        attention = f"{name}.self_attn"
        self._n_heads = architecture.n_heads
        self._arithmetic = weights.arithmetic
        self._n_at_once = weights.at_once.rows
        self._attention_norm = weights.norm(f"{name}.self_attn_layer_norm")
        self._qkv = weights.linear(
            *(f"{attention}.{part}_proj" for part in ("q", "k", "v"))
        )
        self._attended = weights.linear(f"{attention}.output_proj")
        self._ffn_norm = weights.norm(f"{name}.ffn_layer_norm")
        self._inner = weights.linear(f"{name}.ffn.inner_proj")
        self._outer = weights.linear(f"{name}.ffn.output_proj")

    def __call__(
        self, rows: Tensor, lengths: Sequence[int], mask: Tensor | None = None
    ) -> Tensor:
        """Process (n_frames, dim), which is changed in place and returned.

        Args:
            rows: Rows of all windows, one after another.
            lengths: Number of frames of each window.
            mask: Which frames are not padding, (n_windows, 1, 1, n_frames); None if
                there is no padding.
        """
        blocks = cut_rows(rows, self._n_at_once)
        flowing, products = self._arithmetic.flowing, self._arithmetic.products
        qkv = joined(
            [self._qkv(self._attention_norm(block)).to(products) for block in blocks]
        )
        mixed = cut_rows(self._attend(qkv, lengths, mask), self._n_at_once)
        for block, attended in zip(blocks, mixed, strict=True):
            block += self._attended(attended.to(flowing))
            hidden = self._inner(self._ffn_norm(block))
            block += self._outer(functional.gelu(hidden))
        return rows

    def _attend(
        self, qkv: Tensor, lengths: Sequence[int], mask: Tensor | None
    ) -> Tensor:
        """Let every frame hear all frames of its window, and no others."""
        if len(set(lengths)) == 1:
            return self._attend_equal(qkv, len(lengths), mask)
        return torch.cat(
            [
                self._attend_equal(window, 1, None)
                for window in torch.split(qkv, list(lengths))
            ]
        )

    def _attend_equal(self, qkv: Tensor, n_windows: int, mask: Tensor | None) -> Tensor:
        n_frames, width = len(qkv), qkv.shape[1] // 3
        parts = qkv.view(n_windows, -1, 3, self._n_heads, width // self._n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if mask is None:
            mixed = self._arithmetic.attend(query, key, value)
        else:
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask
            )
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
        blocks = weights.at_once
        self.dtype = weights.arithmetic.flowing
        self.architecture = architecture
        self.padded = blocks.padded
        self._n_at_once = min(blocks.rows, MOST_LOGITS)
        self.features = Extractor(weights)
        self._frontend = Frontend(weights, architecture)
        self._layers = [
            Layer(weights, architecture, index)
            for index in range(architecture.n_layers)
        ]
        self._head = Head(weights)

    def encode(self, features: Tensor, lengths: Sequence[int]) -> Iterator[Tensor]:
        """Compute logits from the convolutions' features of some windows.

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
        yield from self._logits(rows)

    def encode_padded(self, features: Tensor, padding: Padding) -> Iterator[Tensor]:
        """Do the same with padding, so that many windows need no more operators."""
        rows = self._frontend.padded(features, padding)
        lengths = [padding.n_frames] * padding.n_windows
        for layer in self._layers:
            rows = layer(rows, lengths, padding.mask)
        yield from self._logits(rows.index_select(0, padding.rows))

    def _logits(self, rows: Tensor) -> Iterator[Tensor]:
        for block in cut_rows(rows, self._n_at_once):
            yield self._head(block)


def reference_logits(
    state: Mapping[str, Tensor], architecture: Architecture, wave: Tensor
) -> Tensor:
    """Compute one wave in float32 on the CPU, with plain products, layer by layer.

    Args:
        wave: Normalised, float32, shape (n_samples,).

    Returns:
        Logits, shape (n_frames, n_labels).
    """
    weights = Weights(state, torch.device("cpu"), lasting=False)
    rows = Extractor(weights)([wave])
    lengths = [len(rows)]
    rows = Frontend(weights, architecture)(rows, lengths)
    for index in range(architecture.n_layers):
        rows = Layer(weights, architecture, index)(rows, lengths)
    return Head(weights)(rows)
