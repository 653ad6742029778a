"""Find a model's card and fetch the files it names.

A card is a few lines of YAML in fairseq2's format: what the model is, and where its
files are. There are cards of the released models, of the bundled one, and those in the
operator's own folder. So a checkpoint on disk goes through the same code as a released
one. If fairseq2 is installed, other names are looked up in its asset store.

Errors here happen on the first day, on a new user's machine: no network, a half-copied
file, a card of another family. Each of them ends in one `ModelUnavailable` that says
what was tried and what to do.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from audio.samples import SAMPLE_RATE
from network.architecture import Architecture, UnsupportedArchitecture, from_card
from text.word_times import UNMEASURED, SpikeOffsets
from weights import downloads, fairseq2_assets

ASSETS = Path(__file__).parent.parent / "assets"

CTC_FAMILY = "wav2vec2_asr"
DEMO_HINT = "To try the server without a download: MODEL_CARD=omniASR_CTC_demo"

# No letter lasts longer; a larger offset must be in another unit.
_MAX_SPIKE_OFFSET_MS = 500

# Most cards in a chain of bases.
_MOST_BASES = 8

Progress = Callable[[str], None]


class ModelUnavailable(Exception):
    """The model cannot be served; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        fields: Its fields, including inherited ones.
        folder: Folder of relative paths in it; None if paths have to be absolute.
        source: Where the card is, for messages.
    """

    name: str
    fields: Mapping[str, object]
    folder: Path | None = None
    source: str = ""

    def text(self, field: str) -> str:
        """Return a field that is text.

        Raises:
            ModelUnavailable: It is missing, or is not text.
        """
        value = self.fields.get(field)
        if isinstance(value, str):
            return value
        what = "no" if value is None else f"an odd value, {value!r}, for"
        raise ModelUnavailable(f"The card {self.name} has {what} {field}.")


def fetch(
    card: Card, progress: Progress, *, model_dir: Path | None
) -> tuple[Path, Path]:
    """Return a model's checkpoint and its tokenizer, as files on disk.

    Raises:
        ModelUnavailable: A file is missing, or could not be fetched.
    """
    tokenizer = card
    if "tokenizer" not in card.fields:
        name = card.text("tokenizer_ref")
        found = _lookup(name, model_dir)
        if found is None:
            raise ModelUnavailable(
                f"The card {card.name} names the tokenizer {name}, which has no card."
            )
        tokenizer = found
    checkpoint = _fetch_field(card, "checkpoint", progress)
    return checkpoint, _fetch_field(tokenizer, "tokenizer", progress)


def _fetch_field(card: Card, field: str, progress: Progress) -> Path:
    """Return the file that a card's field names; download it if it is a URL."""
    place = card.text(field)
    match urlsplit(place).scheme:
        case "http" | "https":
            return _downloaded(card, field, place, progress)
        case "file":
            path = Path(url2pathname(urlsplit(place).path))
        case scheme if len(scheme) > 1:  # a single letter is a drive of Windows
            raise ModelUnavailable(
                f"The {field} of the card {card.name} is {place}; it must be a path, "
                "or a URL that begins with https, http or file."
            )
        case _:
            path = Path(place).expanduser()
    if not path.is_absolute() and card.folder is not None:
        path = card.folder / path
    if not path.exists():
        raise ModelUnavailable(
            f"The {field} of the card {card.name} is missing: {path}"
        )
    _check_hash(card, field, path, progress)
    return path


def _check_hash(card: Card, field: str, path: Path, progress: Progress) -> None:
    """Compare a file on disk with the hash that the card states, if it does."""
    sha256 = card.fields.get(f"{field}_sha256")
    if sha256 is None:
        return
    progress(f"checking the SHA-256 of {path.name}")
    try:
        wrong = downloads.wrong_hash(path, str(sha256))
    except OSError as error:
        raise ModelUnavailable(
            f"The {field} of the card {card.name} cannot be read, to check its "
            f"SHA-256: {path} ({error.strerror})"
        ) from error
    if wrong:
        raise ModelUnavailable(
            f"The {field} of the card {card.name} is another file than the card "
            f"states: {path}\n{wrong[0].upper()}{wrong[1:]} ({field}_sha256)."
        )


def _downloaded(card: Card, field: str, url: str, progress: Progress) -> Path:
    size = card.fields.get(f"{field}_gib")
    what = f"{downloads.place_of(url).name}{f' ({size} GiB)' if size else ''}"
    sha256 = card.fields.get(f"{field}_sha256")
    try:
        return downloads.fetch(
            url,
            sha256=None if sha256 is None else str(sha256),
            on_start=lambda: progress(f"fetching {what}"),
        )
    except downloads.DownloadFailed as error:
        raise ModelUnavailable(
            f"{card.name} could not be fetched from {url} ({error}).\n"
            f"To place the file by hand, fetch it elsewhere and save it as\n"
            f"  {downloads.place_of(url)}\n"
            f"{DEMO_HINT}"
        ) from error


def architecture_of(card: Card) -> Architecture:
    """Return the architecture that a card describes.

    Raises:
        ModelUnavailable: The server cannot compute this network.
    """
    try:
        return from_card(
            card.fields.get("model_arch"),
            card.fields.get("model_config"),
            card.fields.get("model_config_override"),
        )
    except UnsupportedArchitecture as error:
        raise ModelUnavailable(
            f"The card {card.name} describes no network that can be served: {error}"
        ) from error


def spike_offsets(card: Card) -> SpikeOffsets:
    """Read how far the model's frames lie inside words, if the card states it.

    Raises:
        ModelUnavailable: The field is not of the expected form.
    """
    value = card.fields.get("spike_offsets_ms")
    if value is None:
        return UNMEASURED
    match value:
        case {"start": int() as start, "end": int() as end, **others} if not others:
            if all(0 <= offset <= _MAX_SPIKE_OFFSET_MS for offset in (start, end)):
                samples_per_ms = SAMPLE_RATE // 1000
                return SpikeOffsets(start * samples_per_ms, end * samples_per_ms)
    raise ModelUnavailable(
        f"The card {card.name} has spike_offsets_ms: {value}; it needs a start "
        f"and an end, whole milliseconds from 0 to {_MAX_SPIKE_OFFSET_MS}."
    )


# --- cards ---------------------------------------------------------------------


def find_card(name: str, *, model_dir: Path | None) -> Card:
    """Return the card of a CTC model.

    Raises:
        ModelUnavailable: There is no card with this name, or it is of another family.
    """
    card = _lookup(name, model_dir)
    if card is None:
        names = known_models(model_dir)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ModelUnavailable(
            f"There is no model card named {name!r}.{hint} "
            f"Known CTC models: {', '.join(names)}."
        )
    family = card.fields.get("model_family")
    if family != CTC_FAMILY:
        what = "no model" if family is None else f"of the family {family}"
        raise ModelUnavailable(
            f"The card {name} is {what}; this server runs CTC models "
            f"({CTC_FAMILY}): {', '.join(known_models(model_dir))}."
        )
    return card


def known_models(model_dir: Path | None) -> tuple[str, ...]:
    """List the names of all CTC models in the server's and the operator's cards."""
    cards = _read_cards(model_dir)
    names = (n for n, c in cards.items() if c.fields.get("model_family") == CTC_FAMILY)
    return tuple(sorted(names))


def models_in(folder: Path) -> tuple[str, ...]:
    """List the names of all CTC models whose cards lie in a folder.

    Raises:
        ModelUnavailable: A card cannot be read.
    """
    found = _cards_below(folder)
    return tuple(c.name for c in found if c.fields.get("model_family") == CTC_FAMILY)


def _lookup(name: str, model_dir: Path | None) -> Card | None:
    """Return the server's or the operator's card, or else one of fairseq2's."""
    cards = _read_cards(model_dir)
    if name in cards:
        return _with_bases(cards[name], cards)
    if not fairseq2_assets.is_installed():
        return None
    try:
        found = fairseq2_assets.find(name)
    except fairseq2_assets.UnreadableCard as error:
        raise ModelUnavailable(f"A model card cannot be read: {error}") from error
    if found is None:
        return None
    return Card(name, found.fields, found.folder, "fairseq2")


def _with_bases(card: Card, cards: Mapping[str, Card]) -> Card:
    """Add the fields that a card inherits from its `base`."""
    fields = dict(card.fields)
    for _ in range(_MOST_BASES):
        base = fields.pop("base", None)
        if base is None:
            return Card(card.name, fields, card.folder, card.source)
        if base not in cards:
            raise ModelUnavailable(
                f"The card {card.name} has the base {base}, which has no card."
            )
        fields = {**cards[str(base)].fields, **fields}
    raise ModelUnavailable(f"The bases of the card {card.name} form a circle.")


def _read_cards(model_dir: Path | None) -> dict[str, Card]:
    """Read all cards: the server's, and those in the operator's folder.

    Raises:
        ModelUnavailable: A card cannot be read, or two have the same name.
    """
    cards: dict[str, Card] = {}
    for folder in (ASSETS, model_dir):
        for card in _cards_below(folder) if folder is not None else ():
            if other := cards.get(card.name):
                raise ModelUnavailable(
                    f"A model card cannot be read: {card.name} exists in both "
                    f"{other.source} and {card.source}."
                )
            cards[card.name] = card
    return cards


def _cards_below(folder: Path) -> Iterator[Card]:
    for path in sorted(folder.resolve().rglob("*")):
        if path.suffix in (".yaml", ".yml"):
            yield from _cards_in(path)


def _cards_in(path: Path) -> Iterator[Card]:
    try:
        entries = list(yaml.safe_load_all(path.read_text("utf-8")))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise ModelUnavailable(
            f"A model card cannot be read: {path} is no YAML: {reason}"
        ) from error
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ModelUnavailable(
                f"A model card cannot be read: {path} has an entry without a name."
            )
        fields = {str(field): value for field, value in entry.items()}
        yield Card(str(fields.pop("name")), fields, path.parent, str(path))
