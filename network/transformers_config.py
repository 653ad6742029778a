"""Read a network's sizes from the `config.json` of a transformers repository.

Two kinds of network are computed: `OmniASRForCTC`, and `Wav2Vec2ForCTC` with a layer
norm in each convolution and before each layer, as the large models have it. A
configuration with another value that changes the result is refused, with the name of
the value: a network that is computed slightly wrong writes plausible nonsense.

Source: the configurations and modules of transformers 5.24.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from network.architecture import (
    CONVOLUTIONS,
    Architecture,
    UnsupportedArchitecture,
    check_sizes,
    size,
)

OMNIASR: Final = "OmniASRForCTC"
WAV2VEC2: Final = "Wav2Vec2ForCTC"
WHAT_RUNS: Final = (
    f"This server runs {OMNIASR} (such as hf-audio/omniasr-ctc-300m-v2), and "
    f"{WAV2VEC2} whose feat_extract_norm is layer and do_stable_layer_norm is true "
    "(such as fine-tunes of facebook/wav2vec2-large-xlsr-53 and wav2vec2-xls-r)."
)

# Added to the variance of a clip before it is normalised. transformers' feature
# extractor of wav2vec 2.0 has another value than omniASR's.
_WAV2VEC2_EPSILON: Final = 1e-7

_KINDS: Final = {"omniasr_ctc": OMNIASR, "wav2vec2": WAV2VEC2}

# What a configuration that does not name a field means by that, and the value of all
# networks that this server computes.
_FIXED: Final[Mapping[str, Mapping[str, tuple[object, object]]]] = {
    OMNIASR: {
        "conv_bias": (True, True),
        "hidden_act": ("gelu", "gelu"),
        "layer_norm_eps": (1e-5, 1e-5),
    },
    WAV2VEC2: {
        "feat_extract_norm": ("group", "layer"),
        "do_stable_layer_norm": (False, True),
        "conv_bias": (False, True),
        "feat_extract_activation": ("gelu", "gelu"),
        "hidden_act": ("gelu", "gelu"),
        "layer_norm_eps": (1e-5, 1e-5),
        "add_adapter": (False, False),
        "adapter_attn_dim": (None, None),
    },
}

_SIZES: Final = {
    "hidden_size": "model_dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "ffn_dim",
    "num_conv_pos_embeddings": "position_kernel",
    "num_conv_pos_embedding_groups": "n_position_groups",
}

# transformers' own sizes, for fields that a configuration does not name.
_DEFAULTS: Final = {
    OMNIASR: (1024, 24, 16, 4096, 128, 16),
    WAV2VEC2: (768, 12, 12, 3072, 128, 16),
}
_DEFAULT_LABELS: Final = {OMNIASR: 10288, WAV2VEC2: 32}


@dataclass(frozen=True, slots=True)
class Described:
    """What a configuration says.

    Attributes:
        kind: `OmniASRForCTC` or `Wav2Vec2ForCTC`.
        architecture: The sizes of the network.
        blank: The label that stands for no letter; None if the tokenizer says it.
    """

    kind: str
    architecture: Architecture
    blank: int | None


def from_config(config: Mapping[str, object]) -> Described:
    """Read a `config.json`.

    Raises:
        UnsupportedArchitecture: The server does not compute this network; the message
            says what differs and what would run.
    """
    kind = _kind(config)
    encoder: object = config
    if kind == OMNIASR:
        encoder = config.get("audio_config", {})
        if not isinstance(encoder, Mapping):
            raise UnsupportedArchitecture(
                f"audio_config is {encoder}; it lists fields."
            )
    assert isinstance(encoder, Mapping)
    _check_fixed(kind, encoder)
    architecture = _sizes(kind, encoder)
    n_labels = size(
        "vocab_size",
        config["vocab_size"] if "vocab_size" in config else _DEFAULT_LABELS[kind],
    )
    architecture = replace(architecture, n_labels=n_labels)
    check_sizes(architecture)
    blank = None
    if kind == OMNIASR:
        blank = _label("blank_token_id", config.get("blank_token_id", 0), n_labels)
    return Described(kind, architecture, blank)


def _kind(config: Mapping[str, object]) -> str:
    model_type = config.get("model_type")
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    what = f"{', '.join(classes) or 'a model'} (model_type {model_type})"
    kind = _KINDS.get(str(model_type))
    if kind is None or (classes and kind not in classes):
        reason = "no CTC model for speech" if kind is None else "without a CTC head"
        raise UnsupportedArchitecture(f"It is {what}, {reason}. {WHAT_RUNS}")
    if config.get("quantization_config") is not None:
        raise UnsupportedArchitecture(
            "quantization_config is set: its weights are quantised. Take the "
            "repository that it was made from; DTYPE=int8 quantises here, on a CPU."
        )
    return kind


def _check_fixed(kind: str, config: Mapping[str, object]) -> None:
    for field, (default, wanted) in _FIXED[kind].items():
        found = config.get(field, default)
        if found != wanted:
            raise UnsupportedArchitecture(
                f"{field} is {found}; this server computes networks where it is "
                f"{wanted}. {WHAT_RUNS}"
            )


def _sizes(kind: str, config: Mapping[str, object]) -> Architecture:
    values = {
        ours: size(theirs, config[theirs] if theirs in config else default)
        for (theirs, ours), default in zip(_SIZES.items(), _DEFAULTS[kind], strict=True)
    }
    is_omniasr = kind == OMNIASR
    architecture = replace(
        Architecture(),
        channels=_channels(config),
        plain_positions=is_omniasr,
        **values,
    )
    if not is_omniasr:
        architecture = replace(architecture, epsilon=_WAV2VEC2_EPSILON)
    if architecture.n_features == architecture.model_dim:
        raise UnsupportedArchitecture(
            f"hidden_size is {architecture.model_dim}, as the last of conv_dim; "
            "this server computes networks where the two differ."
        )
    return architecture


def _channels(config: Mapping[str, object]) -> tuple[int, ...]:
    for field, wanted in (
        ("conv_kernel", [kernel for kernel, _ in CONVOLUTIONS]),
        ("conv_stride", [stride for _, stride in CONVOLUTIONS]),
    ):
        if (found := config.get(field, wanted)) != wanted:
            raise UnsupportedArchitecture(
                f"{field} is {found}; a frame has to be 400 samples and the next 320 "
                f"later, which takes {wanted}."
            )
    widths = config.get("conv_dim", [512] * len(CONVOLUTIONS))
    if not isinstance(widths, list) or len(widths) != len(CONVOLUTIONS):
        raise UnsupportedArchitecture(
            f"conv_dim is {widths}; it lists {len(CONVOLUTIONS)} numbers of channels."
        )
    return tuple(size("conv_dim", width) for width in widths)


def _label(field: str, value: object, n_labels: int) -> int:
    if isinstance(value, int) and 0 <= value < n_labels:
        return value
    raise UnsupportedArchitecture(
        f"{field} is {value}; it must be a label, from 0 to {n_labels - 1}."
    )
