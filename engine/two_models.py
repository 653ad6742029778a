"""Let a quick model make partials, and a strong one finals and recordings.

To the scheduler the two are one model, which is loaded, unloaded and lost as a whole.
Their vocabularies, sizes, data types and devices may differ. On one device they take
turns; if each has its own, a thread each runs them at the same time.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import replace

from engine.interface import Model, ModelError, ModelInput, ModelTraits, QuickModel
from text.ctc import FrameLabels


class TwoModels:
    """Two models as one.

    Args:
        strong: Hears all windows but those for the quick one.
        quick: Hears the windows of partials.

    Raises:
        ModelError: They count time differently.
    """

    def __init__(self, strong: Model, quick: Model) -> None:
        ours, theirs = strong.traits, quick.traits
        if ours.grid != theirs.grid:
            raise ModelError(
                f"The model of partials has a {theirs.grid}, the other one a "
                f"{ours.grid}."
            )
        apart = ours.device != theirs.device
        self.strong = strong
        self.quick = quick
        self._traits = replace(
            ours,
            quick=QuickModel(
                traits=theirs,
                cost_of_strong=_ratio(ours.n_parameters, theirs.n_parameters),
                apart=apart,
            ),
            max_batches=(
                ours.max_batches if apart else min(ours.max_batches, theirs.max_batches)
            ),
            summary=f"{ours.summary}; for partials, {theirs.summary}",
        )

    @property
    def traits(self) -> ModelTraits:
        """Those of the strong model, with the quick one's."""
        return self._traits

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of windows that are all for one of the two models.

        Raises:
            ValueError: They are for both.
        """
        asked = {window.quick for window in windows}
        if len(asked) > 1:
            raise ValueError("A batch has windows for both models.")
        return part_of(self, quick=True in asked).label_frames(windows)


def part_of(model: Model, *, quick: bool) -> Model:
    """Return one of two models; a single model is all there is."""
    if not isinstance(model, TwoModels):
        return model
    return model.quick if quick else model.strong


def _ratio(n_strong: int, n_quick: int) -> float:
    """Return how many times as large the strong model is, if that is known."""
    return n_strong / n_quick if n_strong and n_quick else 1.0
