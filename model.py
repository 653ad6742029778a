"""Run one omniASR CTC model on batches of windows.

It knows devices, data types and arithmetic. It knows nothing about files, streams,
queues or threads: the scheduler is its only caller, one call at a time.

The network is that of `network/wav2vec2.py`, not fairseq2's module, and is called
directly on arrays. Upstream's `ASRInferencePipeline` goes through files and data
pipelines, returns only text and empties the CUDA cache after every batch; the tests use
it as the reference: our text must equal its text to the character.

Windows of a live utterance carry a key, under which the features of the last window are
kept. The convolutions' output for a frame depends on its 400 samples alone, so only
frames that the last window did not have are computed; the transformer, which hears the
whole window, runs over all frames.

Before a model is used its arithmetic is checked: a short clip goes through the chosen
device and data type and, layer by layer, through the same weights in float32 on the
CPU, because some kernels return garbage without an error.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from audio.frames import MAX_WINDOW_SAMPLES, n_frames
from audio.samples import SAMPLE_RATE
from engine.interface import (
    Decoding,
    ModelInput,
    ModelTraits,
    OutOfMemory,
    WindowTooLong,
)
from network.batches import PaddedPass, most_samples
from network.feature_cache import FeatureCache
from network.packed import PackedPass, normalised
from network.readout import Restriction, Table, read_out, restrictions_within
from network.self_check import SelfCheck, check_clip
from network.threads import Threads, limit_threads
from text.ctc import Alternatives, FrameLabels, Vocabulary
from text.script_labels import allowed_labels
from weights import loading
from weights.cards import ModelUnavailable
from weights.devices import choose_device, choose_dtype, out_of_memory
from weights.loading import LoadedModel

logger = logging.getLogger(__name__)

# Sets of scripts whose labels are kept on the device.
_KEPT_SCRIPTS = 64


@dataclass(frozen=True, slots=True)
class Findings:
    """What the first load of a model found out about it on this machine."""

    dtype: torch.dtype  # whose arithmetic is right
    self_check: SelfCheck | None
    threads: Threads | None  # the choice of their number, if there is one


class ASRModel:
    """An acoustic model that turns windows into labelled frames.

    Not safe for concurrent use: one thread owns it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network = loaded.network
        self._reference = loaded.reference
        self.vocabulary = loaded.vocabulary
        self.spike_offsets = loaded.spike_offsets
        self.name = name
        self.device = device
        self.dtype = dtype
        self.self_check: SelfCheck | None = None
        self._max_batch_samples: int | None = None
        kind = PaddedPass if self._network.padded else PackedPass
        self._pass = kind(self._network, FeatureCache(), device)
        self._threads: Threads | None = None
        self._labels_of = _label_finder(self.vocabulary, device)

    @classmethod
    def load(
        cls,
        card: str,
        *,
        model_dir: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        num_threads: int = 0,
        on_failed_check: Literal["fallback", "stop"] = "fallback",
        known: "Findings | None" = None,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> "ASRModel":
        """Load a card's model and check its arithmetic.

        Args:
            card: Name of a CTC card.
            model_dir: Folder of further cards, or None.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`.
            num_threads: CPU threads of a forward pass; 0: one for each core that
                this process may use. See `adapt_threads`.
            on_failed_check: Continue in float32, or stop.
            known: Findings of an earlier load with the same arguments; none are made.
            progress: Called with the name of each stage when it begins.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        chosen = choose_device(device)
        arithmetic = choose_dtype(dtype, chosen)
        if num_threads:
            torch.set_num_threads(num_threads)
        elif known is None:
            limit_threads()

        def build(arithmetic: torch.dtype) -> ASRModel:
            loaded = loading.load(
                card,
                model_dir=model_dir,
                device=chosen,
                dtype=arithmetic,
                progress=progress,
            )
            model = cls(loaded, name=card, device=chosen, dtype=arithmetic)
            model.measure_memory()
            return model

        if known is not None:
            model = build(known.dtype)
            model.self_check, model._threads = known.self_check, known.threads
            return model
        model = build(arithmetic)
        progress("checking the arithmetic")
        if (check := model.check_arithmetic()).passed:
            return model
        complaint = check.complaint(card, device=str(chosen), dtype=model.dtype_name)
        if on_failed_check == "stop" or arithmetic == torch.float32:
            raise ModelUnavailable(complaint)
        logger.error("%s Continuing in float32, which is slower.", complaint)
        model = build(torch.float32)
        if not (check := model.check_arithmetic()).passed:
            complaint = check.complaint(card, device=str(chosen), dtype="float32")
            raise ModelUnavailable(complaint)
        return model

    @property
    def device_name(self) -> str:
        return str(self.device)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def traits(self) -> ModelTraits:
        """What the server needs to know about it."""
        return ModelTraits(
            vocabulary=self.vocabulary,
            device=self.device_name,
            dtype=self.dtype_name,
            spike_offsets=self.spike_offsets,
            max_batch_samples=self._max_batch_samples,
            n_parameters=self._network.architecture.n_parameters,
            summary=self.description,
        )

    @property
    def description(self) -> str:
        """Name, device, data type and the check's outcome, for the log."""
        text = f"{self.name} is ready on {self.device_name} in {self.dtype_name}"
        if self.self_check is None:
            return text
        return f"{text}, {self.self_check.error:.2%} off float32"

    @property
    def findings(self) -> "Findings":
        """What was found out about it here, for the next load."""
        return Findings(self.dtype, self.self_check, self._threads)

    def measure_memory(self) -> None:
        """Measure how much a batch may hold; other rules limit a CPU's batches."""
        if self.device.type != "cpu":
            free_bytes = loading.free_memory(self.device)
            sizes, dtype = self._network.architecture, self._network.dtype
            self._max_batch_samples = most_samples(sizes, dtype, free_bytes)

    def adapt_threads(self) -> None:
        """From now on use the fastest number of a CPU's threads, up to the present."""
        most = torch.get_num_threads()
        if self.device.type == "cpu" and most > 1:
            self._threads = Threads(most)

    def trials(self) -> Iterator[None]:
        """Find that number in the model's thread, once; give way after each pass."""
        if self._threads is not None:
            clip = ModelInput(check_clip())
            yield from self._threads.rehearse(lambda: self._label_frames([clip]))

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of a batch of windows of any lengths.

        A window without a normalisation is normalised over exactly its own samples, as
        upstream does with a clip. Windows do not influence each other.

        Args:
            windows: Windows of up to 40 s; one with less than 400 samples has no frame.

        Raises:
            WindowTooLong: A window has more than 40 s.
            OutOfMemory: A smaller batch may fit.
            ValueError: A window has a cache key and a position between two frames.
        """
        try:
            if self._threads is None:
                return self._label_frames(windows)
            audio_s = sum(map(len, windows)) / SAMPLE_RATE
            return self._threads.run(lambda: self._label_frames(windows), audio_s)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            complaint = str(error)
        # Not in the handler: there the error keeps alive what the pass had allocated.
        raise OutOfMemory(complaint)

    def _label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        lengths = [n_frames(len(window)) for window in windows]
        long_enough = [window for window in windows if n_frames(len(window))]
        if not long_enough:
            return [_no_frames(window.decoding) for window in windows]
        n_best = max(window.decoding.n_best for window in windows)
        n_best = min(n_best, self._network.architecture.n_labels)
        asked = {label for window in windows for label in window.decoding.labels}
        labels = sorted(asked)
        read = self.read_out(long_enough, n_best=n_best, labels=labels)
        table = Table.of(read.cpu().numpy(), n_best=n_best)
        frames = FrameLabels(table.ids, table.probs, table.blank_probs)
        edges = pairwise([0, *accumulate(lengths)])
        return [
            _with_asked(frames.part(*edge), window.decoding, table, labels, edge)
            for window, edge in zip(windows, edges, strict=True)
        ]

    @torch.inference_mode()
    def read_out(
        self, windows: Sequence[ModelInput], *, n_best: int, labels: Sequence[int]
    ) -> Tensor:
        """Compute the requested labels of each frame of some windows.

        Args:
            windows: Windows of at least 400 samples each.
            n_best: Number of best labels to return.
            labels: Labels whose probabilities to return.

        Returns:
            A row for each frame, on the device; see `network.readout.read_out`.
        """
        blocks, own_labels = self._logits(windows, labels)
        restricted = _restricted(windows, self._labels_of)
        rows: list[Tensor] = []
        first = 0
        for block in blocks:
            own = restrictions_within(restricted, first, len(block))
            rows.append(
                read_out(block, n_best=n_best, labels=own_labels, restricted=own)
            )
            first += len(block)
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    @torch.inference_mode()
    def logits(self, windows: Sequence[ModelInput]) -> list[Tensor]:
        """Run the forward pass over windows of at least 400 samples each.

        Returns:
            Each window's logits, shape (n_frames, n_labels), on the device.
        """
        lengths = [n_frames(len(window)) for window in windows]
        blocks, _ = self._logits(windows)
        return list(torch.split(torch.cat(list(blocks)), lengths))

    def _logits(
        self, windows: Sequence[ModelInput], labels: Sequence[int] = ()
    ) -> tuple[Iterator[Tensor], Tensor]:
        """Return logits, block by block, and labels on the device."""
        for window in windows:
            if len(window) > MAX_WINDOW_SAMPLES:
                raise WindowTooLong(len(window), MAX_WINDOW_SAMPLES)
        return self._pass.logits(windows, labels)

    def check_arithmetic(self) -> SelfCheck:
        """Compare this model with its own weights in float32 on the CPU."""
        clip = ModelInput(check_clip())
        ours = self.logits([clip])[0].float().cpu()
        epsilon = self._network.architecture.epsilon
        reference = self._reference(normalised(clip, epsilon=epsilon))
        difference = (ours - reference).norm() / reference.norm().clamp_min(1e-12)
        same = (ours.argmax(-1) == reference.argmax(-1)).float().mean()
        self.self_check = SelfCheck(float(difference), float(same))
        return self.self_check


def _label_finder(
    vocabulary: Vocabulary, device: torch.device
) -> Callable[[frozenset[str]], Tensor]:
    """Return a function that finds the labels of scripts, and keeps the newest.

    It does not know the model, so that nothing refers to a model that is dropped.
    """

    @lru_cache(_KEPT_SCRIPTS)
    def labels_of(scripts: frozenset[str]) -> Tensor:
        return torch.from_numpy(allowed_labels(vocabulary, scripts)).to(device)

    return labels_of


def _restricted(
    windows: Sequence[ModelInput], labels_of: Callable[[frozenset[str]], Tensor]
) -> list[Restriction]:
    """Return which frames of a pass are written in some scripts only."""
    if not any(window.decoding.scripts for window in windows):
        return []
    lengths = [n_frames(len(window)) for window in windows]
    return [
        Restriction(slice(end - n, end), labels_of(window.decoding.scripts))
        for window, n, end in zip(windows, lengths, accumulate(lengths), strict=True)
        if window.decoding.scripts
    ]


def label_rows(logits: Tensor) -> FrameLabels:
    """Return the most likely label of each frame with its probability.

    Args:
        logits: The logits, shape (n_frames, n_labels).
    """
    no_labels = torch.empty(0, dtype=torch.long, device=logits.device)
    read = read_out(logits, n_best=0, labels=no_labels)
    table = Table.of(read.cpu().numpy(), n_best=0)
    return FrameLabels(table.ids, table.probs, table.blank_probs)


def _with_asked(
    frames: FrameLabels,
    asked: Decoding,
    table: Table,
    labels: Sequence[int],
    edge: tuple[int, int],
) -> FrameLabels:
    """Add to a window's frames the further labels that it asked for.

    Args:
        frames: The window's frames, from `edge[0]` to `edge[1]` of the pass.
        asked: The window's decoding.
        table: The table of the pass.
        labels: Labels that any window asked for, in order.
        edge: The window's first row, and one past its last row.
    """
    rows = slice(*edge)
    if asked.n_best:
        best = (rows, slice(asked.n_best))
        own = Alternatives(table.best_ids[best], table.best_log_probs[best])
    elif asked.labels:
        columns = np.searchsorted(labels, asked.labels)
        ids = np.tile(np.array(asked.labels, np.int32), (len(frames.ids), 1))
        own = Alternatives(ids, table.log_probs[rows][:, columns])
    else:
        return frames
    return replace(frames, alternatives=own)


def _no_frames(asked: Decoding) -> FrameLabels:
    """Return the answer for a window that is shorter than a frame."""
    if not asked.n_best and not asked.labels:
        return _NO_FRAMES
    shape = (0, asked.n_best or len(asked.labels))
    none = Alternatives(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    return replace(_NO_FRAMES, alternatives=none)


_NO_FRAMES = FrameLabels(
    np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32)
)
