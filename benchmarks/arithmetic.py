"""Measure what rounding does to a model: each arithmetic beside float32.

    python -m benchmarks.arithmetic
    python -m benchmarks.arithmetic --card omniASR_CTC_300M_v2 --dtypes int8

Composed recordings go through the model in float32 and in each other arithmetic.
Printed for each, as a line of JSON: how far the logits are off, the share of frames
with the same label, the share of clips with the same text, and the share of letters
that are the same; then the environment. Only for models that know spoken digits do
the texts mean anything; the other figures are those of any model.
"""

import argparse
import json
from collections.abc import Sequence
from random import Random

import editdistance
import torch

import ctc
from benchmarks.environment import environment, processor
from model import ASRModel, best_labels
from model_input import ModelInput
from samples import Samples
from tests import composer

DTYPES = ("int8", "bfloat16")


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
    return ctc.raw_text(ctc.tokens(best_labels(logits), model.vocabulary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", default="omniASR_CTC_demo")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    parser.add_argument("--clips", type=int, default=100)
    options = parser.parse_args()
    rng, recordings = Random(0), composer.load()
    clips = [
        composer.random_composition(recordings, 8, rng=rng).samples
        for _ in range(options.clips)
    ]
    reference = ASRModel.load(options.card, device="cpu", dtype="float32")
    for dtype in options.dtypes:
        model = ASRModel.load(
            options.card, device="cpu", dtype=dtype, on_failed_check="stop"
        )
        print(json.dumps({"dtype": dtype, **compare(model, reference, clips)}))
    card = {"card": options.card, "clips": options.clips}
    print(json.dumps({**card, **environment(), **processor()}))


if __name__ == "__main__":
    main()
