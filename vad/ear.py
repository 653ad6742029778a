"""What a live stream needs of voice activity detection."""

from typing import Protocol

from audio.samples import Samples


class Ear(Protocol):
    """Hears one stream; see `vad.batcher.LiveVad`."""

    async def push_audio(self, samples: Samples) -> list[float]: ...

    def set_hurry(self, on: bool) -> None: ...

    def close(self) -> None: ...


class Deaf:
    """The ear of a stream without voice activity detection."""

    async def push_audio(self, samples: Samples) -> list[float]:
        return []

    def set_hurry(self, on: bool) -> None:
        pass  # it never waits

    def close(self) -> None:
        pass
