"""Stand-ins whose behaviour a test dictates."""

import threading
from collections.abc import Sequence

import numpy as np

import ctc
from ctc import FrameLabels, Vocabulary
from model_input import ModelInput
from word_times import UNMEASURED

ALPHABET = " abcdefghijklmnopqrstuvwxyz"


class ScriptedModel:
    """A model that always hears the same words, when a test lets it.

    Args:
        text: What it hears in every window that has room for it.
        failures: Raised, one a batch, before it starts to hear anything.
    """

    vocabulary = Vocabulary(("", *ALPHABET))
    spike_offsets = UNMEASURED
    device_name = "cpu"
    dtype_name = "float32"
    description = "a scripted model"

    def __init__(self, text: str = "hello", failures: Sequence[Exception] = ()) -> None:
        self.text = text
        self.failures = list(failures)
        self.batches: list[list[int]] = []  # the windows' lengths, in samples
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.batches.append([len(window) for window in windows])
        self.running.set()
        assert self.may_run.wait(timeout=30), "the test never let the model run"
        if self.failures:
            raise self.failures.pop(0)
        return [self._hear(len(window)) for window in windows]

    def _hear(self, n_samples: int) -> FrameLabels:
        """One frame a letter, a blank after each, blanks to the end."""
        n = ctc.n_frames(n_samples)
        ids = np.zeros(n, np.int32)
        labels = [ALPHABET.index(letter) + 1 for letter in self.text]
        if 2 * len(labels) <= n:
            ids[: 2 * len(labels) : 2] = labels
        probs = np.full(n, 0.9, np.float32)
        return FrameLabels(ids, probs, np.where(ids == 0, 0.9, 0.05).astype(np.float32))
