"""Run one omniASR CTC model on batches of windows.

It knows devices, data types and arithmetic. It knows nothing of files, streams,
queues or threads: the scheduler is its only caller, one call at a time.

The network is `network/wav2vec2.py`'s, not fairseq2's module, and is called directly on
arrays. `ASRInferencePipeline`, the upstream way in, takes one route through files
and data pipelines, returns text alone and empties the CUDA cache after every
batch; the tests use it as the reference that our text must equal to the character.

Windows of a live utterance carry a key, under which the features of the last one are
kept. What the convolutions make of a frame depends on its 400 samples alone, so only
frames that the last window did not have are computed; the transformer, which looks at
the whole window, runs over all.

Before a model is used it has to prove itself: a short clip goes through the
chosen device and arithmetic and, layer by layer, through the same weights in
float32 on the CPU. Kernels that return garbage without any error exist.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES, n_frames
from audio.samples import SAMPLE_RATE
from engine.interface import (
    BEST_LABEL,
    Decoding,
    ModelInput,
    ModelTraits,
    OutOfMemory,
    WindowTooLong,
)
from network.feature_cache import FeatureCache
from network.self_check import SELF_CHECK_TOLERANCE, SelfCheck, check_clip
from network.threads import Threads, limit_threads
from text import ctc
from text.ctc import Alternatives, FrameLabels
from weights import loading
from weights.cards import ModelUnavailable
from weights.devices import choose_device, choose_dtype, out_of_memory
from weights.loading import LoadedModel

logger = logging.getLogger(__name__)


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
        self._cache = FeatureCache()
        self._threads: Threads | None = None

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
        progress: Callable[[str], None] = lambda stage: None,
    ) -> "ASRModel":
        """Load a card's model and let it prove its arithmetic.

        Args:
            card: Name of a CTC card.
            model_dir: Folder of further cards, or None.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`.
            num_threads: CPU threads of a forward pass; 0: one for each core that
                this process may use. See `choose_threads`.
            on_failed_check: Go on in float32, or stop.
            progress: Told each stage as it begins.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        chosen = choose_device(device)
        arithmetic = choose_dtype(dtype, chosen)
        if num_threads:
            torch.set_num_threads(num_threads)
        else:
            limit_threads()

        def build(arithmetic: torch.dtype) -> ASRModel:
            loaded = loading.load(
                card,
                model_dir=model_dir,
                device=chosen,
                dtype=arithmetic,
                progress=progress,
            )
            return cls(loaded, name=card, device=chosen, dtype=arithmetic)

        model = build(arithmetic)
        progress("checking the arithmetic")
        if model.check_arithmetic().passed:
            return model
        complaint = _complaint(model)
        if on_failed_check == "stop" or arithmetic == torch.float32:
            raise ModelUnavailable(complaint)
        logger.error("%s Going on in float32, which is slower.", complaint)
        model = build(torch.float32)
        if not model.check_arithmetic().passed:
            raise ModelUnavailable(_complaint(model))
        return model

    @property
    def device_name(self) -> str:
        return str(self.device)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def traits(self) -> ModelTraits:
        """What the server needs to know of it."""
        return ModelTraits(
            vocabulary=self.vocabulary,
            device=self.device_name,
            dtype=self.dtype_name,
            spike_offsets=self.spike_offsets,
            summary=self.description,
        )

    @property
    def description(self) -> str:
        """Name, device, data type and the check's outcome, for the log."""
        text = f"{self.name} is ready on {self.device_name} in {self.dtype_name}"
        if self.self_check is None:
            return text
        return f"{text}, {self.self_check.error:.2%} off float32"

    def choose_threads(self) -> None:
        """From now on have as many threads as are quickest at any time.

        At most as many as there are now. Call it in the thread that has the model.
        On a GPU it does nothing.
        """
        most = torch.get_num_threads()
        if self.device.type == "cpu" and most > 1:
            clip = ModelInput(check_clip())
            self._threads = Threads(most)
            self._threads.rehearse(lambda: self._label_frames([clip]))

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of a batch of windows of any lengths.

        A window without a normalisation of its own is normalised over exactly its
        own samples, as upstream does with a clip. Windows do not see each other.

        Args:
            windows: Up to 40 s each; a window of less than 400 samples has no
                frame.

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
        # Not in the handler: the error there holds on to what the pass had allocated.
        raise OutOfMemory(complaint)

    @torch.inference_mode()
    def _label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        lengths = [n_frames(len(window)) for window in windows]
        long_enough = [window for window in windows if n_frames(len(window))]
        if not long_enough:
            return [_no_frames(window.decoding) for window in windows]
        wanted = _merged([window.decoding for window in windows])
        blocks = [label_rows(block, wanted) for block in self._logits(long_enough)]
        labels = ctc.join([labels for labels, _ in blocks])
        further = [
            ctc.join_alternatives(own)
            for own in zip(*(f for _, f in blocks), strict=True)
        ]
        edges = pairwise([0, *accumulate(lengths)])
        return [
            _with_asked(labels.part(*edge), window.decoding, further, edge)
            for window, edge in zip(windows, edges, strict=True)
        ]

    @torch.inference_mode()
    def logits(self, windows: Sequence[ModelInput]) -> list[Tensor]:
        """Run the forward pass and return what the last layer says.

        Args:
            windows: At least 400 samples each.

        Returns:
            Each window's logits, shape (n_frames, n_labels), on the device.

        Raises:
            ValueError: As `label_frames`.
        """
        lengths = [n_frames(len(window)) for window in windows]
        return list(torch.split(torch.cat(list(self._logits(windows))), lengths))

    def _logits(self, windows: Sequence[ModelInput]) -> Iterator[Tensor]:
        for window in windows:
            if len(window) > MAX_WINDOW_SAMPLES:
                raise WindowTooLong(len(window), MAX_WINDOW_SAMPLES)
        lengths = [n_frames(len(window)) for window in windows]
        return self._network.encode(self._features(windows), lengths)

    def _features(self, windows: Sequence[ModelInput]) -> Tensor:
        """Return the convolution features of all windows, one after another."""
        kept = [self._cache.find(window) for window in windows]
        waves = [
            self._wave(window, skip=0 if old is None else len(old) * FRAME_SHIFT)
            for window, old in zip(windows, kept, strict=True)
        ]
        n_new = [n_frames(len(wave)) for wave in waves]
        missing = [wave for wave, n in zip(waves, n_new, strict=True) if n]
        made = self._network.features(missing) if missing else kept[0]
        assert made is not None, "a window has frames, old or new"
        features = []
        rows = torch.split(made, n_new) if missing else [made[:0]] * len(windows)
        for window, old, new in zip(windows, kept, rows, strict=True):
            features.append(new if old is None else torch.cat([old, new]))
            self._cache.keep(window, features[-1])
        return torch.cat(features)

    def _wave(self, window: ModelInput, *, skip: int) -> Tensor:
        wave = _normalised(window)[skip:]
        return wave.to(self.device, self._network.dtype)

    def check_arithmetic(self) -> SelfCheck:
        """Compare this model with its own weights in float32 on the CPU."""
        clip = ModelInput(check_clip())
        ours = self.logits([clip])[0].float().cpu()
        reference = self._reference(_normalised(clip))
        difference = (ours - reference).norm() / reference.norm().clamp_min(1e-12)
        same = (ours.argmax(-1) == reference.argmax(-1)).float().mean()
        self.self_check = SelfCheck(float(difference), float(same))
        return self.self_check


def label_rows(
    logits: Tensor, wanted: Sequence[Decoding] = ()
) -> tuple[FrameLabels, list[Alternatives]]:
    """Take the most likely label of each frame and what the model thought of it.

    Logits stay where they are; three numbers a frame leave the device, and what else
    is wanted.

    Args:
        logits: Shape (n_frames, n_labels).
        wanted: Further labels that are wanted of every frame.

    Returns:
        The labels, and for each of `wanted` what it asks for.
    """
    best, ids = logits.max(dim=-1)
    log_norm = logits.float().logsumexp(dim=-1)
    probs = (best.float() - log_norm).exp()
    blank_probs = (logits[:, ctc.BLANK].float() - log_norm).exp()
    labels = FrameLabels(
        ids.int().cpu().numpy(), probs.cpu().numpy(), blank_probs.cpu().numpy()
    )
    return labels, [_alternatives(logits, log_norm, own) for own in wanted]


def _alternatives(logits: Tensor, log_norm: Tensor, wanted: Decoding) -> Alternatives:
    if wanted.n_best:
        values, ids = logits.topk(min(wanted.n_best, logits.shape[1]), dim=-1)
    else:
        chosen = torch.tensor(wanted.labels, device=logits.device)
        values, ids = logits[:, chosen], chosen.expand(len(logits), -1)
    log_probs = values.float() - log_norm[:, None]
    return Alternatives(ids.int().cpu().numpy(), log_probs.cpu().numpy())


def _merged(decodings: Sequence[Decoding]) -> list[Decoding]:
    """Return the at most two that give all that some windows ask for."""
    n_best = max(own.n_best for own in decodings)
    labels = tuple(sorted({label for own in decodings for label in own.labels}))
    both = [Decoding(n_best), Decoding(labels=labels)]
    return [own for own in both if own != BEST_LABEL]


def _with_asked(
    frames: FrameLabels,
    asked: Decoding,
    further: Sequence[Alternatives],
    edge: tuple[int, int],
) -> FrameLabels:
    """Add to a window's frames what it asked for, out of what all windows did.

    Args:
        frames: The window's, from `edge[0]` to `edge[1]` of the pass.
        asked: Its decoding.
        further: For each of `_merged`.
    """
    if asked == BEST_LABEL:
        return frames
    # The best come first; labels that were asked for by name come last, in order.
    found = further[0] if asked.n_best else further[-1]
    rows = slice(*edge)
    columns: slice | NDArray[np.intp] = slice(asked.n_best)
    if asked.labels:
        columns = np.searchsorted(found.ids[0], asked.labels)
    own = Alternatives(found.ids[rows, columns], found.log_probs[rows, columns])
    return replace(frames, alternatives=own)


def _no_frames(asked: Decoding) -> FrameLabels:
    """Answer for a window that is shorter than a frame."""
    if asked == BEST_LABEL:
        return _NO_FRAMES
    shape = (0, asked.n_best or len(asked.labels))
    none = Alternatives(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    return replace(_NO_FRAMES, alternatives=none)


def _complaint(model: ASRModel) -> str:
    check = model.self_check
    assert check is not None
    dtype = model.dtype_name
    return (
        f"The start-up check of {model.name} failed: {dtype} on {model.device} differs "
        f"from float32 on the CPU by {check.error:.0%} of the logits (allowed: "
        f"{SELF_CHECK_TOLERANCE:.0%}), with {check.agreement:.0%} of the labels equal. "
        f"This processor or driver computes {dtype} wrongly for this model."
    )


_NO_FRAMES = FrameLabels(
    np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32)
)


def _normalised(window: ModelInput) -> Tensor:
    """Normalise a window, by default over itself.

    Source: omnilingual-asr's `apply_audio_normalization`.

    Returns:
        float32, shape (n_samples,), on the CPU.
    """
    samples = torch.tensor(window.samples)
    if given := window.normalisation:
        return (samples - given.mean) / given.std
    return layer_norm(samples, samples.shape)
