"""What is said of devices."""

import pytest

from weights.devices import out_of_memory


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
            RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        ],
    )
    def test_an_exhausted_memory_is_recognised(self, error: Exception) -> None:
        """In the words of every device."""
        assert out_of_memory(error)

    def test_other_errors_are_not_mistaken_for_it(self) -> None:
        """Trying again would not help."""
        assert not out_of_memory(ValueError("out of memory"))
        assert not out_of_memory(RuntimeError("shape mismatch"))
