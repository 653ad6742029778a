"""The models that a server runs, under their names.

Each has a scheduler with a thread of its own, and what turns its frames into text. The
first one is the default: a request that names no model, or one of the aliases, gets it.
Aliases are patterns: stock clients send names of OpenAI's and of others' models, which
come and go with dates and sizes at their ends.
Every scheduler forecasts as if the machine were its own: models that share a device
slow each other down, and learn it from their passes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.keywords import KeywordListener
from engine.scheduler import Scheduler
from recordings.transcriber import FileTranscriber
from streaming import StreamingTranscriber


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, and what runs on it.

    Attributes:
        name: What requests call it.
        scheduler: Runs it.
        files: Transcribes recordings.
        live: Opens live streams.
        keywords: Hears them in the model's labels.
    """

    name: str
    scheduler: Scheduler
    files: FileTranscriber
    live: StreamingTranscriber
    keywords: KeywordListener


class Models:
    """Models by name.

    Args:
        served: At least one, with names that differ; the first is the default.
        aliases: Patterns of further names of the default, as in file names; `*` means
            any name that is not served.

    Raises:
        ValueError: Two have the same name.
    """

    def __init__(
        self, served: Sequence[ServedModel], *, aliases: Collection[str] = ()
    ) -> None:
        self._served = {own.name: own for own in served}
        if len(self._served) < len(served):
            raise ValueError("Two models have the same name.")
        self.default = served[0]
        self.aliases = tuple(aliases)

    @property
    def all(self) -> tuple[ServedModel, ...]:
        """All models; the default comes first."""
        return tuple(self._served.values())

    def find(self, name: str | None) -> ServedModel | None:
        """Return the model that a name means; None if it means none of these."""
        if name is None:
            return self.default
        if name in self._served:
            return self._served[name]
        known = any(fnmatchcase(name, pattern) for pattern in self.aliases)
        return self.default if known else None
