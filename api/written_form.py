"""Load the operator's text filter, once for all models."""

import threading

from config import Settings
from engine.text_filter import (
    FilterObserver,
    FilterUnavailable,
    TextFilter,
    load_filter,
)
from weights.cards import ModelUnavailable


class WrittenForm:
    """The filter that puts finals and recordings into written form, if there is one.

    Args:
        settings: They name the filter.
        observer: Is told what becomes of texts.

    Attributes:
        filter: The filter, once it is loaded.
    """

    def __init__(self, settings: Settings, observer: FilterObserver) -> None:
        self._name = settings.text_filter
        self._deadline_s = settings.text_filter_s
        self._observer = observer
        self._lock = threading.Lock()  # guards the loading
        self.filter: TextFilter | None = None

    @property
    def wanted(self) -> bool:
        """Whether text should be in written form."""
        return bool(self._name)

    def load(self) -> None:
        """Load the filter, if no other model's thread has; for a model's thread.

        Raises:
            ModelUnavailable: It cannot be used, so no text would be as it should.
        """
        with self._lock:
            if self.filter is not None:
                return
            try:
                function = load_filter(self._name)
            except FilterUnavailable as error:
                raise ModelUnavailable(str(error)) from error
            self.filter = TextFilter(
                function, deadline_s=self._deadline_s, observer=self._observer
            )

    def close(self) -> None:
        """Take no more texts."""
        if self.filter is not None:
            self.filter.close()
