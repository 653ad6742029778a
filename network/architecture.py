"""Describe a wav2vec 2.0 CTC network: which values a card may choose.

A card names an architecture (`300m_v2`) and may override single values, under
fairseq2's names. Some of them set a size; some matter only in training; and some would
make a network that this server does not compute. A card with a value of the last kind
is refused, with the name of the value: a network that is computed slightly wrong writes
plausible nonsense.

Source: the released cards and architectures of omnilingual-asr 0.2.0.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

# Kernel and stride of each convolution over the samples. A frame is 400 samples
# and the next begins 320 later; all times rest on that.
CONVOLUTIONS: Final = ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)


class UnsupportedArchitecture(ValueError):
    """The server does not compute the card's network; the message names the field."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a network.

    Attributes:
        channels: Channels of each convolution over the samples.
        model_dim: Width of the transformer.
        n_layers: Layers of the transformer.
        n_heads: Heads of its attention.
        ffn_dim: Inner width of its feed-forward networks.
        position_kernel: Frames that the positional convolution covers.
        n_position_groups: Channel groups of the positional convolution.
        n_labels: Number of labels, blank included.
        plain_positions: Whether the positional convolution's weight is stored as it
            is; otherwise as a direction and a norm, as in training.
        epsilon: Added to the variance of a clip before it is normalised.
    """

    channels: tuple[int, ...] = (512,) * len(CONVOLUTIONS)
    model_dim: int = 1024
    n_layers: int = 24
    n_heads: int = 16
    ffn_dim: int = 4096
    position_kernel: int = 128
    n_position_groups: int = 16
    n_labels: int = 9812
    plain_positions: bool = False
    epsilon: float = 1e-5

    @property
    def n_features(self) -> int:
        """Width of the convolutions' output for a frame."""
        return self.channels[-1]

    @property
    def n_parameters(self) -> int:
        """Numbers in a checkpoint."""
        return sum(map(prod, self.shapes().values()))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name every tensor of a checkpoint, as fairseq2 does, with its shape."""
        shapes: dict[str, tuple[int, ...]] = {}
        before = 1
        for index, (channels, (kernel, _)) in enumerate(
            zip(self.channels, CONVOLUTIONS, strict=True)
        ):
            name = f"encoder_frontend.feature_extractor.layers.{index}"
            shapes[f"{name}.conv.weight"] = (channels, before, kernel)
            shapes[f"{name}.conv.bias"] = (channels,)
            shapes |= _norm(f"{name}.layer_norm", channels)
            before = channels
        shapes |= self._frontend_shapes()
        for index in range(self.n_layers):
            shapes |= self._layer_shapes(f"encoder.layers.{index}")
        shapes |= _norm("encoder.layer_norm", self.model_dim)
        return shapes | _linear("final_proj", self.model_dim, self.n_labels)

    def _frontend_shapes(self) -> dict[str, tuple[int, ...]]:
        dim, name = self.model_dim, "encoder_frontend"
        shapes = _norm(f"{name}.post_extract_layer_norm", self.n_features)
        if self.n_features != dim:
            shapes |= _linear(f"{name}.model_dim_proj", self.n_features, dim)
        group, kernel = dim // self.n_position_groups, self.position_kernel
        conv = f"{name}.pos_encoder.conv"
        if self.plain_positions:
            shapes[f"{conv}.weight"] = (dim, group, kernel)
        else:
            shapes[f"{conv}.weight_v"] = (dim, group, kernel)
            shapes[f"{conv}.weight_g"] = (1, 1, kernel)
        shapes[f"{conv}.bias"] = (dim,)
        return shapes

    def _layer_shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        dim = self.model_dim
        shapes = _norm(f"{name}.self_attn_layer_norm", dim)
        for part in ("q_proj", "k_proj", "v_proj", "output_proj"):
            shapes |= _linear(f"{name}.self_attn.{part}", dim, dim)
        shapes |= _norm(f"{name}.ffn_layer_norm", dim)
        shapes |= _linear(f"{name}.ffn.inner_proj", dim, self.ffn_dim)
        return shapes | _linear(f"{name}.ffn.output_proj", self.ffn_dim, dim)


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, n_in: int, n_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


_SIZES: Final = {
    "300m": Architecture(),
    "1b": Architecture(model_dim=1280, n_layers=48, ffn_dim=5120),
    "3b": Architecture(model_dim=2048, n_layers=60, ffn_dim=8192),
    "7b": Architecture(model_dim=2048, n_layers=128, ffn_dim=8192),
}

# The second versions have more characters and are otherwise the same.
ARCHITECTURES: Final[Mapping[str, Architecture]] = _SIZES | {
    f"{name}_v2": replace(size, n_labels=10288) for name, size in _SIZES.items()
}

_ENCODER_SIZES: Final = {
    "model_dim": "model_dim",
    "num_encoder_layers": "n_layers",
    "num_encoder_attn_heads": "n_heads",
    "ffn_inner_dim": "ffn_dim",
    "pos_conv_kernel_size": "position_kernel",
    "num_pos_conv_groups": "n_position_groups",
}

# Values of all released models; the server computes no others.
_FIXED: Final[Mapping[str, object]] = {
    "use_fbank": False,
    "layer_norm_features": False,
    "feature_extractor_bias": True,
    "feature_extractor_layer_norm_convs": True,
    "pos_encoder_type": "conv",
    "pos_encoder_depth": 1,
    "use_conformer": False,
    "norm_order": "PRE",
}

_TRAINING_ONLY: Final = frozenset(
    {
        "attn_dropout_p",
        "depthwise_conv_kernel_size",
        "dropout_p",
        "fbank_stride",
        "feature_grad_scale",
        "ffn_inner_dropout_p",
        "final_dropout_p",
        "first_pass_dropout_p",
        "layer_drop_p",
        "max_seq_len",
        "max_spatial_mask_prob",
        "max_temporal_mask_prob",
        "min_num_spatial_mask_spans",
        "min_num_temporal_mask_spans",
        "num_fbank_channels",
        "sample_fbank_every_k",
        "spatial_mask_span_len",
        "temporal_mask_span_len",
        "use_masking",
    }
)


def from_card(name: object, *overrides: object) -> Architecture:
    """Read the architecture of a card's network.

    Args:
        name: The card's `model_arch`.
        overrides: Its overrides, of which later ones win: None, or a mapping as in
            `model_config_override`.

    Raises:
        UnsupportedArchitecture: The message names the field.
    """
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"model_arch is {name}; it may be {', '.join(ARCHITECTURES)}."
        )
    architecture = ARCHITECTURES[name]
    for override in overrides:
        if override is not None:
            architecture = _overridden(architecture, override)
    check_sizes(architecture)
    return architecture


def _overridden(architecture: Architecture, override: object) -> Architecture:
    sizes: dict[str, Any] = {}
    for field, value in _items("model_config_override", override):
        if field == "target_vocab_size":
            sizes["n_labels"] = size(field, value)
        elif field == "encoder_config":
            sizes |= _encoder_sizes(value)
        elif field not in _TRAINING_ONLY:
            raise UnsupportedArchitecture(f"{field} is unknown.")
    n_features = sizes.pop("n_features", None)
    architecture = replace(architecture, **sizes)
    if n_features not in (None, architecture.n_features):
        raise UnsupportedArchitecture(
            f"feature_dim is {n_features}, but the last of "
            f"feature_extractor_layer_descs has {architecture.n_features} channels."
        )
    return architecture


def _encoder_sizes(override: object) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for field, value in _items("encoder_config", override):
        if attribute := _ENCODER_SIZES.get(field):
            sizes[attribute] = size(field, value)
        elif field == "feature_dim":
            sizes["n_features"] = size(field, value)
        elif field == "feature_extractor_layer_descs":
            sizes["channels"] = _channels(value)
        elif field in _FIXED:
            if value != _FIXED[field]:
                raise UnsupportedArchitecture(
                    f"{field} is {value}; this server computes networks "
                    f"where it is {_FIXED[field]}."
                )
        elif field not in _TRAINING_ONLY:
            raise UnsupportedArchitecture(f"{field} is unknown.")
    return sizes


def _items(field: str, value: object) -> list[tuple[str, object]]:
    if not isinstance(value, Mapping):
        raise UnsupportedArchitecture(f"{field} is {value}; it lists fields.")
    return [(str(key), item) for key, item in value.items()]


def size(field: str, value: object) -> int:
    """Return a field's value if it is a size.

    Raises:
        UnsupportedArchitecture: It is not; the message names the field.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedArchitecture(f"{field} is {value}; it is a size, above 0.")
    return value


def _channels(value: object) -> tuple[int, ...]:
    field = "feature_extractor_layer_descs"
    layers = value if isinstance(value, Sequence) else ()
    channels = []
    for layer, (kernel, stride) in zip(layers, CONVOLUTIONS, strict=False):
        match layer:
            case [width, *rest] if rest == [kernel, stride]:
                channels.append(size(field, width))
    if len(channels) == len(layers) == len(CONVOLUTIONS):
        return tuple(channels)
    wanted = ", ".join(f"[channels, {k}, {s}]" for k, s in CONVOLUTIONS)
    raise UnsupportedArchitecture(
        f"{field} is {value}; a frame has to be 400 samples and the next 320 later, "
        f"which takes {wanted}."
    )


def check_sizes(architecture: Architecture) -> None:
    """Check that the sizes fit together.

    Raises:
        UnsupportedArchitecture: They do not; the message names the field.
    """
    dim = architecture.model_dim
    for field, parts in (
        ("num_encoder_attn_heads", architecture.n_heads),
        ("num_pos_conv_groups", architecture.n_position_groups),
    ):
        if dim % parts:
            raise UnsupportedArchitecture(
                f"{field} is {parts}, which does not divide model_dim, {dim}."
            )
