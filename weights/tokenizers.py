"""Read the text of each label from a repository's tokenizer.

transformers has two forms of it: `vocab.json`, characters of wav2vec 2.0, in which `|`
is a space; and `tokenizer.json`, of the Rust library. Some repositories have the
SentencePiece file instead. No code of theirs is run: texts are read from the files.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from text.ctc import Vocabulary
from weights.cards import ModelUnavailable

# Decoders of `tokenizer.json` in which a label has no text of its own.
_JOINING: Final = {"ByteLevel", "ByteFallback", "WordPiece", "BPEDecoder"}

_SPECIAL: Final = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}

# fairseq's order of labels, whose blank is the first.
_FAIRSEQ_ORDER: Final = {0: "<s>", 1: "<pad>"}


@dataclass(frozen=True, slots=True)
class Labels:
    """What a tokenizer says about a model's labels.

    Attributes:
        texts: The text of each label; empty for control symbols.
        blank: The label that a CTC model's blank has by transformers' convention, the
            one of padding; None if there is none.
    """

    texts: tuple[str, ...]
    blank: int | None


def read_labels(folder: Path, n_labels: int) -> Labels:
    """Read the tokenizer in a folder, for a model with so many labels.

    Raises:
        ModelUnavailable: There is none, or it does not belong to the model.
    """
    config = read_json(folder / "tokenizer_config.json") or {}
    if (folder / "vocab.json").exists():
        path = folder / "vocab.json"
        pieces, special = _of_characters(folder, config)
    elif (folder / "tokenizer.json").exists():
        path = folder / "tokenizer.json"
        pieces, special = _of_rust(path)
    else:
        return _of_sentencepiece(folder, config, n_labels)
    base, pieces = pieces, pieces | special
    missing = [label for label in range(n_labels) if label not in pieces]
    if missing or any(label >= n_labels for label in base.keys() - special.keys()):
        raise ModelUnavailable(_sizes_differ(path, len(pieces), n_labels))
    texts = tuple(
        "" if label in special else _written(pieces[label], config)
        for label in range(n_labels)
    )
    return Labels(texts, _blank(pieces, config))


def _written(piece: str, config: Mapping[str, object]) -> str:
    text = piece.replace("▁", " ")
    delimiter = config.get("word_delimiter_token", "|")
    if piece == _content(delimiter):
        text = " "
    return text.lower() if config.get("do_lower_case") else text


def _blank(pieces: Mapping[int, str], config: Mapping[str, object]) -> int | None:
    if all(pieces.get(label) == piece for label, piece in _FAIRSEQ_ORDER.items()):
        return 0
    pad = _content(config.get("pad_token", _SPECIAL["pad_token"]))
    return next((label for label, piece in pieces.items() if piece == pad), None)


def _of_characters(
    folder: Path, config: Mapping[str, object]
) -> tuple[dict[int, str], dict[int, str]]:
    """Return pieces by label, and those of control symbols among them."""
    path = folder / "vocab.json"
    vocabulary = read_json(path) or {}
    if not all(isinstance(label, int) for label in vocabulary.values()):
        raise ModelUnavailable(
            f"{path} has vocabularies of several languages, each with its own adapter "
            "weights; this server runs models with one vocabulary."
        )
    names = {_content(config.get(field, piece)) for field, piece in _SPECIAL.items()}
    pieces = {int(label): str(piece) for piece, label in vocabulary.items()}
    for piece, label in (read_json(folder / "added_tokens.json") or {}).items():
        pieces[int(label)] = str(piece)
    special = {label: piece for label, piece in pieces.items() if piece in names}
    for label, token in _mapping(config.get("added_tokens_decoder")).items():
        piece = str(_content(token))
        pieces[int(label)] = piece
        if piece in names or _mapping(token).get("special"):
            special[int(label)] = piece
    return pieces, special


def _of_rust(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Return pieces by label, and those of control symbols among them."""
    content = read_json(path) or {}
    if joining := _JOINING.intersection(_decoders(content.get("decoder"))):
        raise ModelUnavailable(
            f"{path} has a tokenizer of the kind {', '.join(sorted(joining))}, in "
            "which a label has no text of its own; this server runs models whose labels "
            "are characters or pieces of words."
        )
    listed = _mapping(content.get("model")).get("vocab")
    if isinstance(listed, Mapping):
        pieces = {int(label): str(piece) for piece, label in listed.items()}
    elif isinstance(listed, list):
        pieces = {label: str(entry[0]) for label, entry in enumerate(listed)}
    else:
        raise ModelUnavailable(f"{path} has no vocabulary (model.vocab).")
    added = content.get("added_tokens")
    tokens = added if isinstance(added, list) else []
    special = {int(t["id"]): str(t["content"]) for t in tokens if t.get("special")}
    plain = {int(t["id"]): str(t["content"]) for t in tokens if not t.get("special")}
    unknown = _mapping(content.get("model")).get("unk_id")
    if isinstance(unknown, int) and unknown in pieces:
        special[unknown] = pieces[unknown]
    return plain | pieces, special


def _decoders(decoder: object) -> Iterator[str]:
    fields = _mapping(decoder)
    if "type" in fields:
        yield str(fields["type"])
    parts = fields.get("decoders")
    for part in parts if isinstance(parts, list) else ():
        yield from _decoders(part)


def _of_sentencepiece(
    folder: Path, config: Mapping[str, object], n_labels: int
) -> Labels:
    files = sorted(folder.glob("*.model"))
    if len(files) != 1:
        raise ModelUnavailable(
            f"{folder} has no tokenizer: it needs vocab.json, tokenizer.json or one "
            "SentencePiece file (*.model). processor.save_pretrained writes it."
        )
    texts = read_vocabulary(files[0]).texts
    if len(texts) != n_labels:
        raise ModelUnavailable(_sizes_differ(files[0], len(texts), n_labels))
    pieces = dict(enumerate(_pieces(files[0])))
    return Labels(texts, _blank(pieces, config))


def read_vocabulary(path: Path) -> Vocabulary:
    """Return a SentencePiece tokenizer's text for every single label.

    Control symbols decode to an empty text and characters to themselves, so the texts
    of a sequence, joined, are the text of the sequence.

    Raises:
        ModelUnavailable: The file is not a tokenizer.
    """
    tokenizer = _sentencepiece(path)
    labels = range(tokenizer.vocab_size())
    return Vocabulary(tuple(tokenizer.decode([label]) for label in labels))


def _pieces(path: Path) -> list[str]:
    tokenizer = _sentencepiece(path)
    return [tokenizer.id_to_piece(label) for label in range(tokenizer.vocab_size())]


def _sentencepiece(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_proto=path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise ModelUnavailable(f"The tokenizer cannot be read: {path}") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None if there is no such file.

    Raises:
        ModelUnavailable: It holds something else.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{path} holds no JSON object.")
    return content


def _sizes_differ(path: Path, n_texts: int, n_labels: int) -> str:
    return (
        f"The tokenizer {path} has {n_texts} labels, but the model has {n_labels}: the "
        "two do not belong together. Save the processor that it was trained with."
    )


def _content(token: object) -> object:
    """Return the text of a token, which may be given with its properties."""
    return token.get("content") if isinstance(token, Mapping) else token


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
