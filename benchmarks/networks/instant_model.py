"""Hear a text in everything, for measurements in which what is heard does not matter.

But that something is: a server drops utterances in which nothing is heard, and models
with random weights hear nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from audio.frames import FRAME_SHIFT, n_frames
from audio.samples import SAMPLE_RATE
from engine.interface import Model, ModelInput, ModelTraits
from text.ctc import FrameLabels, Vocabulary

# What a speaker's model says: 12 letters a second, and a space after every fifth.
_LETTERS: Final = " abcdefghijklmnopqrstuvwxyz"
_FRAMES_A_LETTER: Final = 4
_LETTERS_A_WORD: Final = 6

# Frames after which the text begins again.
_PERIOD: Final = _FRAMES_A_LETTER * _LETTERS_A_WORD * 26


class InstantModel:
    """Hears the same text in everything, at the same places of a stream, at once."""

    traits = ModelTraits(
        vocabulary=Vocabulary(("", *_LETTERS)),
        device="cuda",  # passes are shared as on an accelerator
        summary="A model that answers at once is ready",
    )

    def __init__(self) -> None:
        letters = np.arange(_PERIOD // _FRAMES_A_LETTER)
        said = np.where(letters % _LETTERS_A_WORD == 0, 1, 2 + letters % 26)
        ids = np.zeros(_PERIOD, np.int32)
        ids[::_FRAMES_A_LETTER] = said
        longest = 2 * _PERIOD + 40 * SAMPLE_RATE // FRAME_SHIFT
        ids = np.resize(ids, longest)
        blanks = np.where(ids == 0, 0.9, 0.05).astype(np.float32)
        self._labels = FrameLabels(ids, np.full(longest, 0.9, np.float32), blanks)

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label windows by where they lie in their streams."""
        return [self._label(window) for window in windows]

    def _label(self, window: ModelInput) -> FrameLabels:
        first = window.position // FRAME_SHIFT % _PERIOD
        return self._labels.part(first, first + n_frames(len(window)))


class TakingAsLong:
    """Hears what `InstantModel` hears, and takes as long for it as another model.

    Args:
        model: Its labels are computed and dropped.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._said = InstantModel()
        self.traits = replace(model.traits, vocabulary=self._said.traits.vocabulary)

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label windows once the other model has."""
        self._model.label_frames(windows)
        return self._said.label_frames(windows)
