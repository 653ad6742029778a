"""Measure what rounding does to a model: each arithmetic beside float32.

    python -m benchmarks.arithmetic
    python -m benchmarks.arithmetic --card omniASR_CTC_300M_v2 --dtypes int8
    python -m benchmarks.arithmetic --card random --clips 20

Composed recordings go through the model in float32 and in each other arithmetic. For
each arithmetic the program prints a line of JSON: the error of the logits, the share of
frames with the same label, the share of clips with the same text, and the share of
equal letters; then the environment, and a table. Texts mean something only for models
that know spoken digits; the other figures work for any model. `random` is the 300M
architecture with the seeded random weights of `throughput.py`, whose best labels are
hardly better than the next ones: labels of a trained model change less.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import editdistance
import torch

from audio.samples import Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.corpus import composer
from benchmarks.networks import contenders
from engine.interface import ModelInput
from model import ASRModel, label_rows
from text import ctc

DTYPES = ("int8", "bfloat16")
RANDOM = "random"

_EQUAL = ("labels_equal", "texts_equal", "letters_equal")


def compare(
    model: ASRModel, reference: ASRModel, clips: Sequence[Samples]
) -> dict[str, float]:
    """Compare a model with the same one in float32."""
    difference = norm = 0.0
    same_labels = n_labels = same_texts = n_letters = n_wrong = 0
    for clip in clips:
        window = ModelInput(clip)
        ours, theirs = (m.logits([window])[0].float() for m in (model, reference))
        difference += float((ours - theirs).square().sum())
        norm += float(theirs.square().sum())
        same_labels += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        n_labels += len(ours)
        text, wanted = (text_of(model, logits) for logits in (ours, theirs))
        same_texts += text == wanted
        n_letters += len(wanted)
        n_wrong += editdistance.eval(text, wanted)
    return {
        "error_of_logits": round((difference / norm) ** 0.5, 4),
        "labels_equal": round(same_labels / n_labels, 4),
        "texts_equal": round(same_texts / len(clips), 4),
        "letters_equal": round(1 - n_wrong / max(1, n_letters), 4),
    }


def text_of(model: ASRModel, logits: torch.Tensor) -> str:
    return ctc.raw_text(ctc.tokens(label_rows(logits), model.vocabulary))


def table(rows: Sequence[Row]) -> str:
    """Write how far each arithmetic is from float32, as Markdown."""
    body = [
        [
            f"{row['card']}, {row['dtype']}",
            f"{row['error_of_logits']:.2%}",
            *(f"{row[what]:.1%}" for what in _EQUAL),
        ]
        for row in rows
        if "dtype" in row
    ]
    head = ["", "logits off", *(what.replace("_", " ") for what in _EQUAL)]
    return documents.table(head, body)


def _load(card: str, dtype: str, folder: Path) -> ASRModel:
    if card == RANDOM:
        return contenders.our_model(folder, contenders.DTYPES[dtype])
    return ASRModel.load(card, device="cpu", dtype=dtype, on_failed_check="stop")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arithmetic", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--card", default="omniASR_CTC_demo")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--work-dir", type=Path, default=contenders.WORK_DIR)
    options = parser.parse_args()
    rng, recordings = Random(0), composer.load()
    clips = [
        composer.random_composition(recordings, 8, rng=rng).samples
        for _ in range(options.clips)
    ]
    if options.card == RANDOM:
        contenders.prepare(options.work_dir, onnx=False)
    about = {"card": options.card, "clips": options.clips}
    reference, rows = _load(options.card, "float32", options.work_dir), []
    for dtype in options.dtypes:
        model = _load(options.card, dtype, options.work_dir)
        compared = compare(model, reference, clips)
        rows.append({"dtype": dtype, **about, **compared})
        print(json.dumps(rows[-1]))
    print(json.dumps({**about, **environment(), **processor()}))
    print(table(rows))


if __name__ == "__main__":
    main()
