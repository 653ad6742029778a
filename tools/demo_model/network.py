"""The demo network: fairseq2's own module, and a faster way through its weights.

The architecture is fairseq2's `wav2vec2_asr` with the released models' kernels
and strides (320 samples a frame), so a checkpoint trained here loads through
exactly the code that loads the released ones. For training, `forward` computes
the same function from the same parameters but keeps the convolutions
channels-last, as matrix products on views: fairseq2 transposes around every
layer normalisation, and a training step took 2.4 times as long. Equality of the
two is a test.

The positional convolution has 16 channels per group. Fewer are computed wrongly
in bfloat16 by oneDNN on processors with AMX.
"""

import copy
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.demo_model.vocabulary import N_WORD_LABELS, TOKENS
from weights import fairseq2_assets

CHANNELS: Final = 64
MODEL_DIM: Final = 192
N_LAYERS: Final = 5
N_HEADS: Final = 4
N_POSITIONAL_GROUPS: Final = 12
POSITIONAL_KERNEL: Final = 64
WORD_LAYER: Final = 3  # layers below the auxiliary word output


def config_override() -> dict[str, Any]:
    """Return what differs from fairseq2's `300m_v2`, as a card states it."""
    strided = [[CHANNELS, 3, 2]] * 4 + [[CHANNELS, 2, 2]] * 2
    return {
        "target_vocab_size": len(TOKENS),
        "final_dropout_p": 0.1,
        "encoder_config": {
            "feature_extractor_layer_descs": [[CHANNELS, 10, 5], *strided],
            "feature_dim": CHANNELS,
            "model_dim": MODEL_DIM,
            "num_encoder_layers": N_LAYERS,
            "num_encoder_attn_heads": N_HEADS,
            "ffn_inner_dim": 4 * MODEL_DIM,
            "pos_conv_kernel_size": POSITIONAL_KERNEL,
            "num_pos_conv_groups": N_POSITIONAL_GROUPS,
            "layer_drop_p": 0.0,
        },
    }


def create_model() -> nn.Module:
    """Build the untrained network through fairseq2's factory."""
    fairseq2_assets.start()
    from fairseq2.models.wav2vec2.asr.config import Wav2Vec2AsrConfig
    from fairseq2.models.wav2vec2.asr.factory import create_wav2vec2_asr_model
    from fairseq2.runtime.config_registry import get_config
    from fairseq2.runtime.dependency import get_dependency_resolver

    config = copy.deepcopy(
        get_config(get_dependency_resolver(), Wav2Vec2AsrConfig, "300m_v2")
    )
    override = config_override()
    for name, value in override.pop("encoder_config").items():
        setattr(config.encoder_config, name, value)
    for name, value in override.items():
        setattr(config, name, value)
    layers = config.encoder_config.feature_extractor_layer_descs
    config.encoder_config.feature_extractor_layer_descs = [
        (channels, kernel, stride) for channels, kernel, stride in layers
    ]
    model: nn.Module = create_wav2vec2_asr_model(config)
    return model


class WordHead(nn.Module):
    """Names whole words halfway up the network. Used in training only.

    CTC picks each character by itself; a network that must first tell which word
    it hears spells it consistently afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(MODEL_DIM)
        self.proj = nn.Linear(MODEL_DIM, N_WORD_LABELS)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.proj(self.norm(hidden))
        return logits


class BlockConv(torch.autograd.Function):
    """Convolve (N, S, C) along S, kernel 3 or 2 and stride 2, without copies.

    Two neighbouring frames lie side by side in memory, so a stride of 2 is a
    matrix product over blocks of two frames; the third tap is the first half of
    the next block. All products read and write views. Autograd's own backward
    pass through these views fills and adds whole tensors of zeros, and took a
    tenth of a step.
    """

    @staticmethod
    def forward(ctx: Any, seqs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Take (N, S, C), (C_out, K * C) and (C_out,); return (N, S_out, C_out)."""
        ctx.save_for_backward(seqs, weight)
        n_out, taps = _count_taps(seqs, weight)
        out = seqs.new_empty(len(seqs), n_out, len(weight))
        for one, result in zip(seqs, out, strict=True):
            torch.addmm(bias, _blocks(one, n_out), weight[:, :taps].t(), out=result)
            if taps < weight.shape[1]:
                result.addmm_(_next_halves(one, n_out), weight[:, taps:].t())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seqs, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        n_out, taps = _count_taps(seqs, weight)
        grad_seqs, grad_weight = torch.empty_like(seqs), torch.zeros_like(weight)
        grad_seqs[:, 2 * n_out :] = 0
        for one, above, below in zip(seqs, grad, grad_seqs, strict=True):
            torch.mm(above, weight[:, :taps], out=_blocks(below, n_out))
            grad_weight[:, :taps].addmm_(above.t(), _blocks(one, n_out))
            if taps < weight.shape[1]:
                halves = _next_halves(one, n_out)
                _next_halves(below, n_out).addmm_(above, weight[:, taps:])
                grad_weight[:, taps:].addmm_(above.t(), halves)
        return grad_seqs, grad_weight, grad.sum((0, 1))


def _count_taps(seqs: Tensor, weight: Tensor) -> tuple[int, int]:
    """Return how many frames come out, and the taps in a block of two frames."""
    channels = seqs.shape[2]
    kernel = weight.shape[1] // channels
    return (seqs.shape[1] - kernel) // 2 + 1, 2 * channels


def _blocks(frames: Tensor, n: int) -> Tensor:
    return frames[: 2 * n].view(n, 2 * frames.shape[1])


def _next_halves(frames: Tensor, n: int) -> Tensor:
    return frames[2::2][:n]


def _strided_conv(seqs: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolve (N, S, C_in) along S as matrix products on views."""
    kernel = weight.shape[2]
    flat = weight.permute(0, 2, 1).reshape(weight.shape[0], -1)  # (C_out, K * C_in)
    if weight.shape[1] == 1:
        return functional.linear(seqs[..., 0].unfold(1, kernel, stride), flat, bias)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        seqs, flat, bias = seqs.to(dtype), flat.to(dtype), bias.to(dtype)
    out: Tensor = BlockConv.apply(seqs.contiguous(), flat, bias)  # type: ignore[no-untyped-call]
    return out


def _extract_features(frontend: Any, waves: Tensor) -> Tensor:
    """Turn (N, samples) into (N, frames, MODEL_DIM), before positions are added."""
    seqs = waves.unsqueeze(2)
    for layer in frontend.feature_extractor.layers:
        conv = layer.conv
        seqs = _strided_conv(seqs, conv.weight, conv.bias, conv.stride[0])
        seqs = functional.gelu(_norm(layer.layer_norm, seqs))
    hidden: Tensor = frontend.model_dim_proj(
        _norm(frontend.post_extract_layer_norm, seqs)
    )
    return hidden


def _norm(norm: Any, seqs: Tensor) -> Tensor:
    return functional.layer_norm(seqs, norm.normalized_shape, norm.weight, norm.bias)


def _attend(layer: Any, seqs: Tensor) -> Tensor:
    """Self-attention as plain matrix products: quicker to train than the fused
    kernel at these lengths."""
    n, length, dim = seqs.shape
    projections = (layer.q_proj, layer.k_proj, layer.v_proj)
    weight = torch.cat([p.weight for p in projections])
    bias = torch.cat([p.bias for p in projections])
    qkv = functional.linear(seqs, weight, bias)
    q, k, v = qkv.view(n, length, 3, N_HEADS, dim // N_HEADS).permute(2, 0, 3, 1, 4)
    scores = (q * (dim // N_HEADS) ** -0.5) @ k.transpose(2, 3)
    mixed = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2)
    out: Tensor = layer.output_proj(mixed.reshape(n, length, dim))
    return out


def _encode_positions(frontend: Any, seqs: Tensor) -> Tensor:
    """Add the positional convolution, which drops the last of its frames."""
    conv = frontend.pos_encoder.conv
    padding = POSITIONAL_KERNEL // 2
    # Recomputed at each step: `conv.weight` is set only when the module is called.
    weight = torch._weight_norm(conv.weight_v, conv.weight_g, dim=2)
    moved = functional.conv1d(
        seqs.transpose(1, 2),
        weight,
        conv.bias,
        padding=padding,
        groups=N_POSITIONAL_GROUPS,
    )
    return seqs + functional.gelu(moved[..., :-1].transpose(1, 2))


def forward(
    model: Any,
    waves: Tensor,
    *,
    drop: Callable[[Tensor], Tensor] = lambda seqs: seqs,
    frame_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the network over whole windows without padding.

    Args:
        waves: Standardised audio, shape (N, samples).
        drop: Dropout, applied where fairseq2 applies it on the residual path.
        frame_mask: True where a frame is hidden from the encoder, (N, frames).

    Returns:
        Token logits (N, frames, tokens), and the hidden state (N, frames,
        MODEL_DIM) that `WordHead` reads.
    """
    frontend = model.encoder_frontend
    seqs = _extract_features(frontend, waves)
    if frame_mask is not None:
        seqs = seqs.masked_fill(frame_mask.unsqueeze(2), 0.0)
    seqs = drop(_encode_positions(frontend, seqs))
    middle = seqs
    for index, layer in enumerate(model.encoder.layers):
        hidden = _attend(layer.self_attn, _norm(layer.self_attn_layer_norm, seqs))
        seqs = seqs + drop(hidden)
        hidden = functional.gelu(
            layer.ffn.inner_proj(_norm(layer.ffn_layer_norm, seqs))
        )
        seqs = seqs + drop(layer.ffn.output_proj(hidden))
        if index == WORD_LAYER - 1:
            middle = seqs
    logits = model.final_proj(drop(_norm(model.encoder.layer_norm, seqs)))
    return logits, middle
