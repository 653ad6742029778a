"""The models that a server runs, under their names.

Each model has a scheduler with its own thread, and the parts that turn its frames into
text. The first one is the default: it serves requests that name no model, or one of the
aliases. Aliases are patterns, because stock clients send the names of other services'
models, which change and end with dates and sizes.
Every scheduler forecasts as if it had the machine alone: models that share a device
slow each other down, and the schedulers notice it in the times of passes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.keywords import KeywordListener
from engine.scheduler import Scheduler
from engine.work_queue import Work
from recordings.transcriber import FileTranscriber
from schemas import AnswerWarning
from sockets.written import WrittenLive


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, and the parts that use it.

    Attributes:
        name: Its name in requests.
        scheduler: Runs it.
        files: Transcribes recordings.
        live: Opens live streams.
        keywords: Hears them in the model's labels.
        quick_keywords: Hears them in those of the quick model, if there are two.
        warnings: What clients of this model should know; part of every answer.
    """

    name: str
    scheduler: Scheduler
    files: FileTranscriber
    live: WrittenLive
    keywords: KeywordListener
    quick_keywords: KeywordListener
    warnings: tuple[AnswerWarning, ...] = ()


class Models:
    """Models by name.

    Args:
        served: At least one model, with different names; the first is the default.
        aliases: Patterns of further names of the default, as for file names; `*`
            matches any name that is not served.

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

    @property
    def n_streams(self) -> int:
        """Number of live streams that are open."""
        return sum(model.scheduler.n_streams for model in self.all)

    @property
    def n_speaking(self) -> int:
        """Number of live streams that had speech recently."""
        return sum(model.scheduler.n_speaking for model in self.all)

    @property
    def n_free(self) -> int:
        """How many streams with speech each model would let in if they came now."""
        return min(model.scheduler.n_free for model in self.all)

    @property
    def n_queued(self) -> int:
        """Number of windows that wait."""
        return sum(model.scheduler.n_queued for model in self.all)

    def n_waiting(self, work: Work) -> int:
        """Number of windows of one kind that wait."""
        return sum(model.scheduler.n_waiting(work) for model in self.all)

    @property
    def loaded(self) -> bool:
        """Whether all models are in memory; those that are not are loaded by work."""
        return all(model.scheduler.loaded for model in self.all)

    @property
    def is_overloaded(self) -> bool:
        """Whether the streams of a model need more than its time."""
        return any(model.scheduler.is_overloaded for model in self.all)

    def find(self, name: str | None) -> ServedModel | None:
        """Return the model with a name or alias; None if there is none."""
        if name is None:
            return self.default
        if name in self._served:
            return self._served[name]
        known = any(fnmatchcase(name, pattern) for pattern in self.aliases)
        return self.default if known else None
