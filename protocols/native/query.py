"""Read the parameters of a native socket's URL.

They set options of the session from its beginning, as the first `config` would: for
clients that cannot send a message before the audio. A value out of its bounds is
refused. Unknown names have no effect and are named in `ready`, because clients of other
servers send some.

No I/O, no clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.native import messages as wire

# Options that a URL may set, and `config` as well.
_OPTIONS = ("sample_rate", "encoding", "language", "interim")

# Those that go on with a session.
_RESUMING = ("resume", "seq", "position")

# All parameters. How many channels there are is only in the URL, because a stream for
# each is opened before the first message.
NAMES = (*_OPTIONS, "channels", *_RESUMING)

# Digits of a number: more bytes than anyone sends in a session.
_MOST_DIGITS = 15

_CHANNELS = {"": 1, "1": 1, "2": 2}


@dataclass(frozen=True, slots=True)
class Resume:
    """The session that a client wants to go on with.

    Attributes:
        token: Its token, from `ready`.
        number: The number of the last message that the client has; 0: none.
        position: Where the client goes on sending, in bytes of the session's audio;
            None: where the server says.
    """

    token: str = field(repr=False)
    number: int = 0
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What a URL sets.

    Attributes:
        wanted: Values of fields of `config`.
        n_channels: Number of channels that are interleaved in the audio.
        ignored: Names of parameters that have no effect.
    """

    wanted: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    n_channels: int = 1
    resume: Resume | None = None


def read(items: Iterable[tuple[str, str]]) -> Query:
    """Read the parameters, as pairs of names and values.

    The last of several values of a name counts; an empty one counts as not sent.

    Raises:
        BadMessage: A value cannot be read, or is out of its bounds.
    """
    given = dict(items)
    texts = {name: given.get(name, "").strip() for name in _OPTIONS}
    wanted = wire.read_texts(
        {name: text for name, text in texts.items() if text}, where="URL"
    )
    channels = given.get("channels", "").strip()
    if channels not in _CHANNELS:
        raise wire.BadMessage("URL.channels: it must be 1 or 2.")
    return Query(
        wanted,
        tuple(name for name in given if name not in NAMES),
        n_channels=_CHANNELS[channels],
        resume=_resume(given),
    )


def _resume(given: Mapping[str, str]) -> Resume | None:
    token = given.get("resume", "").strip()
    number, position = _count(given, "seq"), _count(given, "position")
    return Resume(token, number or 0, position) if token else None


def _count(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise wire.BadMessage(f"URL.{name}: it must be a whole number, 0 or more.")
    return int(text)
