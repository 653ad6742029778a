"""Read what a folder says about its model, as transformers saves it.

That is `config.json` and the tokenizer; `weights/transformers_weights.py` reads the
weights beside them. PyTorch is not needed, so a repository can be refused before its
weights are fetched.
"""

from pathlib import Path
from typing import Final

from audio.samples import SAMPLE_RATE
from network.architecture import UnsupportedArchitecture
from network.transformers_config import Described, from_config
from text.ctc import BLANK, Vocabulary
from weights.cards import ModelUnavailable
from weights.tokenizers import read_json, read_labels

CONFIG: Final = "config.json"


def describe(folder: Path) -> Described:
    """Read what a folder's configuration says, and check that it can be served.

    Raises:
        ModelUnavailable: The message says what differs, and what would run.
    """
    config = read_json(folder / CONFIG)
    if config is None:
        raise ModelUnavailable(_no_config(folder))
    try:
        described = from_config(config)
    except UnsupportedArchitecture as error:
        raise ModelUnavailable(
            f"{folder / CONFIG} describes no network that can be served: {error}"
        ) from error
    _check_input(folder)
    return described


def _no_config(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return (
            f"{folder} has only an adapter. Merge it into its model "
            "(merge_and_unload), and save that."
        )
    return (
        f"{folder} has no {CONFIG}. A folder needs what save_pretrained of a model and "
        "of its processor write, or a card (YAML) that names a checkpoint."
    )


def _check_input(folder: Path) -> None:
    """Refuse a model that hears other samples than this server gives it."""
    found = read_json(folder / "preprocessor_config.json")
    if found is None:
        whole = read_json(folder / "processor_config.json") or {}
        found = whole.get("feature_extractor") or {}
    for field, wanted in (("sampling_rate", SAMPLE_RATE), ("do_normalize", True)):
        if (value := found.get(field, wanted)) != wanted:
            raise ModelUnavailable(
                f"{folder} has {field} {value} for its audio; this server runs models "
                f"where it is {wanted}."
            )


def read_vocabulary(folder: Path, described: Described) -> tuple[Vocabulary, int]:
    """Return the text of each label, the blank first, and which label the blank was.

    The blank and the first label have changed places: this server's blank is 0.

    Raises:
        ModelUnavailable: The tokenizer cannot be read, or belongs to another model.
    """
    labels = read_labels(folder, described.architecture.n_labels)
    blank = labels.blank if described.blank is None else described.blank
    if blank is None or blank >= len(labels.texts):
        raise ModelUnavailable(
            f"The tokenizer in {folder} has no pad_token, which is the blank of "
            "Wav2Vec2ForCTC. Save the processor that the model was trained with."
        )
    texts = list(labels.texts)
    texts[blank], texts[BLANK] = texts[BLANK], ""
    return Vocabulary(tuple(texts)), blank
