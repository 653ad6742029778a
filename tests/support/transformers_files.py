"""Write models in the layout of transformers, without it.

The oracle in `tests/transformers` shows that its own files have this layout.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor
from torch import Tensor

from network.architecture import Architecture
from network.transformers_config import OMNIASR, WAV2VEC2
from weights import cards, checkpoint

DEMO = "omniASR_CTC_demo"

_LAYERS = (
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.output_proj\.", ".attention.out_proj."),
    (r"\.self_attn\.", ".attention."),
    (r"\.ffn_layer_norm\.", ".final_layer_norm."),
    (r"\.ffn\.inner_proj\.", ".feed_forward.intermediate_dense."),
    (r"\.ffn\.output_proj\.", ".feed_forward.output_dense."),
)
_TOWER = "model.audio_tower"
_OMNIASR = (
    (r"^final_proj\.", "ctc_head."),
    (
        r"^encoder_frontend\.feature_extractor\.layers\.",
        f"{_TOWER}.subsampling.conv_layers.",
    ),
    (
        r"^encoder_frontend\.post_extract_layer_norm\.",
        f"{_TOWER}.subsampling.layer_norm.",
    ),
    (r"^encoder_frontend\.model_dim_proj\.", f"{_TOWER}.subsampling.projection."),
    (r"^encoder_frontend\.pos_encoder\.", f"{_TOWER}.encode_positions."),
    (r"^encoder\.", f"{_TOWER}."),
)
_WAV2VEC2 = (
    (r"^final_proj\.", "lm_head."),
    (r"^encoder\.", "wav2vec2.encoder."),
    (
        r"^encoder_frontend\.feature_extractor\.layers\.",
        "wav2vec2.feature_extractor.conv_layers.",
    ),
    (
        r"^encoder_frontend\.post_extract_layer_norm\.",
        "wav2vec2.feature_projection.layer_norm.",
    ),
    (r"^encoder_frontend\.model_dim_proj\.", "wav2vec2.feature_projection.projection."),
    (r"^encoder_frontend\.pos_encoder\.", "wav2vec2.encoder.pos_conv_embed."),
    (r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0"),
    (r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1"),
)


def demo_state() -> tuple[Architecture, dict[str, Tensor]]:
    """Return the bundled model's sizes and tensors."""
    card = cards.find_card(DEMO, model_dir=None)
    architecture = cards.architecture_of(card)
    weights, _ = cards.fetch(card, lambda stage: None, model_dir=None)
    return architecture, checkpoint.read(weights, architecture)


def renamed(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Give tensors transformers' names; fold the norm of positions for omniASR."""
    state = dict(state)
    if kind == OMNIASR and "encoder_frontend.pos_encoder.conv.weight_v" in state:
        direction = state.pop("encoder_frontend.pos_encoder.conv.weight_v").float()
        length = state.pop("encoder_frontend.pos_encoder.conv.weight_g").float()
        norm = direction.norm(dim=(0, 1), keepdim=True)
        state["encoder_frontend.pos_encoder.conv.weight"] = direction * (length / norm)
    names = _OMNIASR if kind == OMNIASR else _WAV2VEC2
    found = {}
    for name, tensor in state.items():
        for pattern, theirs in (*_LAYERS, *names):
            name = re.sub(pattern, theirs, name)
        found[name] = tensor.contiguous()
    return found


def config_of(architecture: Architecture, kind: str) -> dict[str, Any]:
    """Describe a network as `save_pretrained` does."""
    encoder = {
        "hidden_size": architecture.model_dim,
        "num_hidden_layers": architecture.n_layers,
        "num_attention_heads": architecture.n_heads,
        "intermediate_size": architecture.ffn_dim,
        "num_conv_pos_embeddings": architecture.position_kernel,
        "num_conv_pos_embedding_groups": architecture.n_position_groups,
        "conv_dim": list(architecture.channels),
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }
    if kind == OMNIASR:
        return {
            "architectures": [kind],
            "model_type": "omniasr_ctc",
            "vocab_size": architecture.n_labels,
            "blank_token_id": 0,
            "pad_token_id": 1,
            "audio_config": {**encoder, "model_type": "omniasr_audio"},
        }
    return {
        "architectures": [kind],
        "model_type": "wav2vec2",
        "vocab_size": architecture.n_labels,
        "pad_token_id": 0,
        "feat_extract_norm": "layer",
        "feat_extract_activation": "gelu",
        "do_stable_layer_norm": True,
        "add_adapter": False,
        **encoder,
    }


def write_json(path: Path, content: object) -> None:
    """Write a file as transformers does."""
    path.write_text(json.dumps(content, indent=2))


def write_weights(folder: Path, state: dict[str, Tensor], *, n_shards: int = 1) -> None:
    """Write a model's tensors, into one file or several."""
    if n_shards == 1:
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(state)
    places: dict[str, str] = {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        own = names[shard::n_shards]
        save_file({name: state[name] for name in own}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(own, file)
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places}
    )


def write_demo(folder: Path, kind: str, *, n_shards: int = 1, pad: int = 0) -> Path:
    """Write the bundled model as transformers would.

    Args:
        folder: Where to.
        kind: `OmniASRForCTC` or `Wav2Vec2ForCTC`.
        n_shards: Number of files of the weights.
        pad: The label of the blank in Wav2Vec2ForCTC's vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    architecture, state = demo_state()
    tokenizer = SentencePieceProcessor(
        model_file=str(cards.ASSETS / "demo" / "omniASR_CTC_demo_tokenizer.model")
    )
    pieces = [tokenizer.id_to_piece(n) for n in range(tokenizer.vocab_size())]
    order = torch.arange(len(pieces))
    if kind == WAV2VEC2:
        # As in its conversions of fairseq's models, the blank has the name of padding.
        pieces[0], pieces[1], pieces[4] = "<pad>", "<s>", "|"
        order[0], order[pad] = order[pad].clone(), order[0].clone()
        pieces = [pieces[n] for n in order.tolist()]
        for part in ("weight", "bias"):
            state[f"final_proj.{part}"] = state[f"final_proj.{part}"][order]
    config = config_of(architecture, kind)
    write_json(folder / "config.json", config)
    write_weights(folder, renamed(state, kind), n_shards=n_shards)
    if kind == OMNIASR:
        write_rust_tokenizer(folder, pieces)
    else:
        write_json(folder / "vocab.json", {p: n for n, p in enumerate(pieces)})
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "Wav2Vec2CTCTokenizer",
                "pad_token": "<pad>",
                "word_delimiter_token": "|",
            },
        )
    write_json(
        folder / "preprocessor_config.json",
        {"do_normalize": True, "sampling_rate": 16000},
    )
    return folder


def write_rust_tokenizer(folder: Path, pieces: list[str]) -> None:
    """Write `tokenizer.json` with these pieces, of which four are control symbols."""
    special = ("<s>", "<pad>", "</s>", "<unk>")
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    kind = {**plain, "normalized": False, "special": True}
    added = [{"id": pieces.index(piece), "content": piece, **kind} for piece in special]
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {
                "type": "Unigram",
                "unk_id": 3,
                "vocab": [[piece, -float(n)] for n, piece in enumerate(pieces)],
                "byte_fallback": False,
            },
        },
    )
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "ParakeetTokenizer", "pad_token": "<pad>"},
    )
