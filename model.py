"""Run one omniASR CTC model on batches of windows.

It knows devices, data types and arithmetic. It knows nothing of files, streams,
queues or threads: the scheduler is its only caller, one call at a time.

The module is called directly on arrays. `ASRInferencePipeline`, the upstream
way in, takes one route through files and data pipelines, returns text alone and
empties the CUDA cache after every batch; the tests use it as the reference that
our text must equal to the character.

Before a model is used it has to prove itself: a short clip goes through the
chosen device and data type and, layer by layer, through the same weights in
float32 on the CPU. Kernels that return garbage without any error exist.
"""

import logging
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

import ctc
import model_loading
from cards import ModelUnavailable
from ctc import FrameLabels, Vocabulary
from model_input import ModelInput
from samples import SAMPLE_RATE, Samples
from word_times import UNMEASURED, SpikeOffsets

logger = logging.getLogger(__name__)


# The start-up check. bfloat16 alone moves the logits of the released
# architectures by 1 to 3 %; a wrong kernel was seen to move them by 100 %.
SELF_CHECK_S = 2.0
SELF_CHECK_TOLERANCE = 0.15

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How far the chosen arithmetic is from float32 on the CPU.

    Attributes:
        error: Norm of the difference of the logits over the norm of the logits.
        agreement: Share of frames whose most likely label is the same.
    """

    error: float
    agreement: float

    @property
    def passed(self) -> bool:
        return math.isfinite(self.error) and self.error <= SELF_CHECK_TOLERANCE


class ASRModel:
    """An acoustic model that turns windows into labelled frames.

    Not safe for concurrent use: one thread owns it.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        vocabulary: Vocabulary,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        spike_offsets: SpikeOffsets = UNMEASURED,
    ) -> None:
        self._module = module
        self.vocabulary = vocabulary
        self.spike_offsets = spike_offsets
        self.name = name
        self.device = device
        self.dtype = dtype
        self.self_check: SelfCheck | None = None

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
            dtype: `auto`, `float32`, `bfloat16` or `float16`.
            num_threads: CPU threads of a forward pass; 0 leaves it to torch.
            on_failed_check: Go on in float32, or stop.
            progress: Told each stage as it begins.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        chosen = choose_device(device)
        arithmetic = choose_dtype(dtype, chosen)
        if num_threads:
            torch.set_num_threads(num_threads)

        def build(arithmetic: torch.dtype) -> ASRModel:
            loaded = model_loading.load_module(
                card,
                model_dir=model_dir,
                device=chosen,
                dtype=arithmetic,
                progress=progress,
            )
            return cls(
                loaded.module,
                loaded.vocabulary,
                name=card,
                device=chosen,
                dtype=arithmetic,
                spike_offsets=loaded.spike_offsets,
            )

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
    def description(self) -> str:
        """Name, device, data type and the check's outcome, for the log."""
        text = f"{self.name} is ready on {self.device_name} in {self.dtype_name}"
        if self.self_check is None:
            return text
        return f"{text}, {self.self_check.error:.2%} off float32"

    @torch.inference_mode()
    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of a batch of windows of any lengths.

        A window without a normalisation of its own is normalised over exactly its
        own samples, as upstream does with a clip. Padding changes nothing: the
        convolutions normalise frame by frame, and attention does not look at
        padded frames.

        Args:
            windows: Up to 40 s each; a window of less than 400 samples has no
                frame.

        Raises:
            ValueError: A window is longer than the model takes.
        """
        results = [_NO_FRAMES] * len(windows)
        long_enough = [
            index for index, window in enumerate(windows) if ctc.n_frames(len(window))
        ]
        if not long_enough:
            return results
        logits, lengths = self.logits([windows[index] for index in long_enough])
        for index, frames in zip(
            long_enough, best_labels(logits, lengths), strict=True
        ):
            results[index] = frames
        return results

    @torch.inference_mode()
    def logits(self, windows: Sequence[ModelInput]) -> tuple[Tensor, list[int]]:
        """Run the forward pass and return what the last layer says.

        Args:
            windows: At least 400 samples each.

        Returns:
            Logits, shape (n_windows, most_frames, n_labels), on the device and in
            the data type of the model, and each window's number of frames.
        """
        for window in windows:
            if len(window) > ctc.MAX_WINDOW_SAMPLES:
                raise ValueError(
                    f"A window of {len(window)} samples is longer than "
                    f"the model's {ctc.MAX_WINDOW_S} s."
                )
        seqs = _normalised_batch(windows).to(self.device, self.dtype)
        lengths = [len(window) for window in windows]
        logits, layout = self._module(seqs, _batch_layout(seqs, lengths))
        return logits, list(layout.seq_lens)

    def check_arithmetic(self) -> SelfCheck:
        """Compare this model with its own weights in float32 on the CPU."""
        clip = _check_clip()
        ours = self.logits([ModelInput(clip)])[0][0].float().cpu()
        with _blocks_in_float32(self._module):
            reference = self._reference_logits(clip)
        difference = (ours - reference).norm() / reference.norm().clamp_min(1e-12)
        same = (ours.argmax(-1) == reference.argmax(-1)).float().mean()
        self.self_check = SelfCheck(float(difference), float(same))
        return self.self_check

    @torch.inference_mode()
    def _reference_logits(self, clip: Samples) -> Tensor:
        seqs = _normalised_batch([ModelInput(clip)])
        logits: Tensor = self._module(seqs, _batch_layout(seqs, [len(clip)]))[0]
        return logits[0].float().cpu()


def best_labels(logits: Tensor, lengths: Sequence[int]) -> list[FrameLabels]:
    """Take the most likely label of each frame and what the model thought of it.

    Logits stay where they are; three numbers a frame leave the device.

    Args:
        logits: Shape (n_windows, most_frames, n_labels).
        lengths: Number of frames of each window.
    """
    ids = logits.argmax(dim=-1)
    log_norm = logits.float().logsumexp(dim=-1)
    best = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1).float()
    probs = (best - log_norm).exp().cpu().numpy()
    blank_probs = (logits[..., ctc.BLANK].float() - log_norm).exp().cpu().numpy()
    ids_np = ids.to("cpu", torch.int32).numpy()
    return [
        FrameLabels(ids_np[row, :n], probs[row, :n], blank_probs[row, :n])
        for row, n in enumerate(lengths)
    ]


def choose_device(wanted: str) -> torch.device:
    """Pick CUDA, then MPS, then the CPU, or the device that is wanted.

    Raises:
        ModelUnavailable: The wanted device is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    device = torch.device(wanted)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ModelUnavailable(
                f"DEVICE={wanted}, but PyTorch sees {count or 'no'} CUDA device"
                f"{'s' if count != 1 else ''}. Check the driver (nvidia-smi), or set "
                "DEVICE=auto or DEVICE=cpu."
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelUnavailable(
            "DEVICE=mps, but this is not a Mac whose PyTorch has Metal. "
            "Set DEVICE=auto or DEVICE=cpu."
        )
    return device


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Pick bfloat16 where the processor computes it natively, else float32.

    Without hardware support bfloat16 is slower than float32.
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the processor has AMX or AVX512-BF16."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return bool(
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )


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


def _normalised_batch(windows: Sequence[ModelInput]) -> Tensor:
    """Normalise each window, by default over itself, and pad with zeros.

    Source: omnilingual-asr's `apply_audio_normalization`.

    Returns:
        float32, shape (n_windows, most_samples), on the CPU.
    """
    batch = torch.zeros(len(windows), max(len(window) for window in windows))
    for row, window in zip(batch, windows, strict=True):
        samples = torch.tensor(window.samples)
        if given := window.normalisation:
            row[: len(window)] = (samples - given.mean) / given.std
        else:
            row[: len(window)] = layer_norm(samples, samples.shape)
    return batch


def _batch_layout(seqs: Tensor, lengths: Sequence[int]) -> Any:
    """Describe the padding; windows of one length skip the slower masked path."""
    from fairseq2.nn import BatchLayout

    return BatchLayout(tuple(seqs.shape), list(lengths), device=seqs.device)


def _check_clip() -> Samples:
    """Make a clip with a moving spectrum, the same on every machine."""
    n = int(SELF_CHECK_S * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    glide = np.sin(2 * np.pi * (120 * t + 40 * np.sin(2 * np.pi * 1.5 * t)))
    formants = np.sin(2 * np.pi * 700 * t) + 0.6 * np.sin(2 * np.pi * 1800 * t)
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * t)
    noise = np.random.default_rng(0).standard_normal(n)
    clip = syllables * (0.3 * glide + 0.1 * glide * formants) + 0.01 * noise
    return np.asarray(clip, dtype=np.float32)


@contextmanager
def _blocks_in_float32(module: torch.nn.Module) -> Iterator[None]:
    """Let a module compute in float32 on the CPU, one block at a time.

    Each block's weights are converted when its turn comes and restored after
    it, so the check of a 7B model needs the memory of one more layer, not of a
    second model four times as large.
    """
    blocks = [
        child
        for child in module.modules()
        if next(child.parameters(recurse=False), None) is not None
    ]
    saved: dict[torch.nn.Module, list[Tensor]] = {}

    def convert(block: torch.nn.Module, inputs: Any) -> None:
        saved[block] = [weight.data for weight in block.parameters(recurse=False)]
        for weight in block.parameters(recurse=False):
            weight.data = weight.data.to("cpu", torch.float32)

    def restore(block: torch.nn.Module, inputs: Any, output: Any) -> None:
        weights = block.parameters(recurse=False)
        for weight, data in zip(weights, saved.pop(block), strict=True):
            weight.data = data

    with ExitStack() as stack:
        for block in blocks:
            # First of all, before weight norm computes the weight from its parts.
            hook = block.register_forward_pre_hook(convert, prepend=True)
            stack.callback(hook.remove)
            stack.callback(block.register_forward_hook(restore).remove)
        yield
