"""Write the files that ship: checkpoint, tokenizer and the card that names them.

Weights are stored in float16, half the size; the server converts them to what
its processor computes best.
"""

from pathlib import Path
from typing import Any, Final

import torch

from tools.demo_model import network
from tools.demo_model.vocabulary import TOKENS

NAME: Final = "omniASR_CTC_demo"
TOKENIZER_NAME: Final = "omniASR_tokenizer_demo"

_CARD = """\
# A small model of omniASR's own family, read by the same code as the released
# models: fairseq2's asset store takes the card, its wav2vec2_asr family the rest.
# Written by tools/train_demo_model.py.
name: {tokenizer_name}
tokenizer_family: char_tokenizer
tokenizer: ./{name}_tokenizer.model

---

name: {name}
model_family: wav2vec2_asr
model_arch: 300m_v2
model_config_override:
  target_vocab_size: {target_vocab_size}
  final_dropout_p: {final_dropout_p}
  encoder_config:
{encoder}
checkpoint: ./{name}.pt
tokenizer_ref: {tokenizer_name}
"""


def export(weights: Path, folder: Path) -> None:
    """Write the shipped files from trained weights."""
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(weights, weights_only=True)
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
    }
    torch.save({"model": half}, folder / f"{NAME}.pt")
    (folder / f"{NAME}_tokenizer.model").write_bytes(tokenizer_model())
    (folder / f"{NAME}.yaml").write_text(card(), "utf-8")


def card() -> str:
    """Describe the network and its files as fairseq2's asset store reads them."""
    override = network.config_override()
    lines = [f"    {key}: {value}" for key, value in override["encoder_config"].items()]
    return _CARD.format(
        name=NAME,
        tokenizer_name=TOKENIZER_NAME,
        target_vocab_size=override["target_vocab_size"],
        final_dropout_p=override["final_dropout_p"],
        encoder="\n".join(lines).replace(", ", ","),
    )


def tokenizer_model() -> bytes:
    """Describe the tokens as a SentencePiece model of single characters."""
    from sentencepiece import sentencepiece_model_pb2

    format: Any = sentencepiece_model_pb2  # generated, without types
    model = format.ModelProto()
    kind = format.ModelProto.SentencePiece
    special = {"<s>": kind.CONTROL, "<pad>": kind.CONTROL, "</s>": kind.CONTROL}
    special["<unk>"] = kind.UNKNOWN
    for index, token in enumerate(TOKENS):
        piece = model.pieces.add()
        piece.piece = token.replace(" ", "\u2581")
        piece.type = special.get(token, kind.NORMAL)
        piece.score = 0.0 if token in special else float(len(special) - index)
    model.trainer_spec.model_type = format.TrainerSpec.CHAR
    model.trainer_spec.vocab_size = len(TOKENS)
    model.trainer_spec.bos_id, model.trainer_spec.pad_id = 0, 1
    model.trainer_spec.eos_id, model.trainer_spec.unk_id = 2, 3
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    return bytes(model.SerializeToString())
