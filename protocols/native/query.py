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

# All parameters. How many channels there are is only in the URL, because a stream for
# each is opened before the first message.
NAMES = (*_OPTIONS, "channels")

_CHANNELS = {"": 1, "1": 1, "2": 2}


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
    )
