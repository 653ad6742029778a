"""Choose a model's device and data type; know what its memory is like."""

import gc

import torch

from network.kernels import cpu_has_bfloat16
from weights import heap
from weights.cards import ModelUnavailable

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}


def choose_device(wanted: str) -> torch.device:
    """Choose CUDA, then MPS, then the CPU; or the wanted device.

    Raises:
        ModelUnavailable: The machine does not have the wanted device.
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
    """Choose bfloat16 if the processor computes it natively, else float32.

    Without hardware support bfloat16 is slower than float32. int8 is never chosen: its
    cost in accuracy on real speech has not been measured.
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch means that memory ran out, on any device.

    Only CUDA has an exception for it; elsewhere it is a `RuntimeError` that says so.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
    )


def give_back_memory() -> None:
    """Let the system have the memory that nothing refers to any more.

    PyTorch keeps what it has freed on an accelerator, and the C library what it has
    freed on its heap.
    """
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    heap.trim()
