"""Know whether uploads can be kept in the temporary folder while they are read.

Recordings larger than a megabyte go to a file there. A disk fills up, a folder is
removed, a process uses up its descriptors: all of these pass, so the server says so,
takes no recordings meanwhile, and goes on by itself afterwards.
"""

import errno
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("omniasr")

# What is written to see whether there is room: recordings of this size go to a file.
_TRIAL = bytes(1024 * 1024)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

# Seconds after which a client should try again.
RETRY_S = 30


class NoRoom(Exception):
    """The disk with the temporary folder is full."""


class SpoolUnavailable(Exception):
    """Nothing can be written to the temporary folder, for another reason."""


@contextmanager
def spooling() -> Iterator[None]:
    """Say what is wrong if a file cannot be written.

    Raises:
        NoRoom: The disk is full.
        SpoolUnavailable: Nothing can be written, for another reason.
    """
    try:
        yield
    except OSError as error:
        raise _refusal(error) from error


def _refusal(error: OSError) -> NoRoom | SpoolUnavailable:
    if error.errno in _NO_ROOM:
        return NoRoom("The server has no room for the recording at present; try later.")
    return SpoolUnavailable(
        "The server cannot keep the recording while it reads it, for a reason of its "
        "own; try later."
    )


class Spool:
    """Whether the temporary folder can be used.

    Attributes:
        trouble: What is wrong, for the operator; None if all is well.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._error: OSError | None = None

    def require_room(self) -> None:
        """Refuse a recording before it is sent, if it could not be kept.

        Raises:
            NoRoom, SpoolUnavailable: As the last look found.
        """
        if self._error is not None:
            raise _refusal(self._error)

    def look(self) -> None:
        """Try to write, and log what has changed. Blocks, and never raises."""
        try:
            with tempfile.TemporaryFile() as file:
                file.write(_TRIAL)
                file.flush()
        except OSError as error:
            self._note_trouble(error)
        else:
            if self.trouble is not None:
                logger.warning("The temporary folder can be used again.")
            self.trouble = self._error = None

    def _note_trouble(self, error: OSError) -> None:
        if self._error is None or self._error.errno != error.errno:
            self.trouble = _describe(error)
            logger.error("%s", self.trouble)
        self._error = error


def _describe(error: OSError) -> str:
    reason = f"{error.strerror or error} (TMPDIR)"
    if error.errno in _NO_DESCRIPTORS:
        return (
            f"Recordings are refused: all {_most_descriptors()} file descriptors of "
            "this process are in use. New connections fail, too; those that are open "
            "go on. Raise the limit (ulimit -n, Compose's ulimits, systemd's "
            "LimitNOFILE), or lower MAX_STREAMS and MAX_REQUESTS."
        )
    if error.errno in _NO_ROOM:
        return f"Recordings are refused: the temporary folder is full: {reason}."
    return f"Recordings are refused: the temporary folder cannot be used: {reason}."


def _most_descriptors() -> str:
    try:
        import resource
    except ImportError:  # not on Windows
        return "the"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return str(soft)
