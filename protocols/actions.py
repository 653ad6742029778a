"""The actions of a protocol, and the calls that it gets.

A protocol is a pure machine. It asks for actions; `sockets/session.py`, which has the
socket and the stream, carries them out in order. It tells the protocol what comes from
the client and from the stream, and why the server ends a session.

All close codes come from here: `CloseCode` has those of RFC 6455 section 7.4.1 and of
IANA's registry by their names, as plain numbers.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from websockets.frames import CloseCode as CloseCode

from audio.encoding import Encoding
from live.events import LiveEvent
from live.options import StreamOptions


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message.

    Attributes:
        droppable: Whether the next message says all that this one does, so that a
            client that reads slowly may miss it.
    """

    text: str
    droppable: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Push audio to the stream, in the format of the last `Configure`.

    Attributes:
        audio: The bytes that came.
        on_piece: Called with each piece of them before it is pushed. A message may have
            megabytes, and other tasks run between two pieces.
    """

    audio: bytes
    on_piece: Callable[[bytes | memoryview], None] | None = field(
        default=None, compare=False, repr=False
    )


@dataclass(frozen=True, slots=True)
class Flush:
    """Ask the stream for the final of what it has."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Let the stream forget the open utterance."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Set the format of audio and the options of the stream from here on."""

    encoding: Encoding
    sample_rate: int
    options: StreamOptions


@dataclass(frozen=True, slots=True)
class End:
    """Tell the stream that no more audio comes."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket, once all messages are sent.

    Attributes:
        code: A `CloseCode`.
        reason: Text for people and logs.
    """

    code: int
    reason: str = ""


Action = Send | Append | Flush | Clear | Configure | End | Close


class Stop(Enum):
    """Why the server takes no more audio; finals of what it has still come."""

    IDLE = "idle_timeout"
    TOO_LONG = "session_too_long"
    SHUTDOWN = "shutdown"


class Failure(Enum):
    """Why the server ends a session without its remaining finals."""

    SLOW_READER = "slow_reader"
    INTERNAL = "internal_error"


class Teller(Protocol):
    """Decides what to tell about the events of a stream."""

    def tell(
        self, event: LiveEvent, *, latency_ms: float, audio_position: int
    ) -> Sequence[Action]: ...


class Machine(Teller, Protocol):
    """A protocol: decides what to do about messages and events."""

    def greet(self) -> Sequence[Action]: ...

    def receive(self, message: str | bytes) -> Sequence[Action]: ...

    def stop(self, why: Stop) -> Sequence[Action]: ...

    def fail(self, why: Failure) -> Sequence[Action]: ...

    def finish(self, *, latency_ms: float, audio_position: int) -> Sequence[Action]: ...
