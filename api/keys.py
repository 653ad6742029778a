"""Know the keys, and read their file again when it changes.

A file that cannot be read, or that is not what it should be, changes nothing: the keys
stay as they were, and the log says why. Nothing that runs is ended by a change. A
session whose key is removed goes on to its end; the next one is refused.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from config import ApiKey, Quota

logger = logging.getLogger("omniasr")

# Between looks at the file. Its folder may be of any kind, also one of those that
# tell nobody of changes.
_LOOK_EVERY_S = 2.0

# When it was changed, how long it is, and which of several that had its name.
Stamp = tuple[int, int, int]


class KeyRing:
    """The keys that open the server. Made anywhere, then used in the event loop.

    Args:
        read: Reads all keys by name; a ValueError says why it cannot.
        file: Whose changes are looked out for.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, ApiKey]], *, file: Path | None = None
    ) -> None:
        self._read = read
        self._file = file
        self._stamp = self._look()
        self._keys = dict(read())
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def name_of(self, sent: bytes) -> str | None:
        """Return the name of a key.

        It compares with all of them, so that the time tells nothing of any.
        """
        found = None
        for name, known in self._keys.items():
            if hmac.compare_digest(sent, known.key.encode()):
                found = name
        return found

    def quota_of(self, name: str | None) -> Quota:
        """Return the limits that a key has of its own."""
        known = self._keys.get(name) if name is not None else None
        return Quota() if known is None else known.quota

    def ask_to_reload(self) -> None:
        """Have the file read again soon. For any thread, and for signal handlers."""
        if self._loop is None:
            self._asked.set()  # nobody waits for it yet
        else:
            self._loop.call_soon_threadsafe(self._asked.set)

    async def watch(self) -> None:
        """Read the file again whenever it changes, or somebody asks for it."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                await asyncio.to_thread(self.reload_if_changed)
            else:
                self._asked.clear()
                await asyncio.to_thread(self.reload)

    def reload_if_changed(self) -> None:
        """Read the file again if it is not the one that was read last."""
        if self._look() != self._stamp:
            self.reload()

    def reload(self) -> None:
        """Read the file again, and keep what is known if that fails."""
        if self._file is None:
            logger.warning("There is no API_KEYS_FILE to read again.")
            return
        self._stamp = self._look()
        try:
            keys = dict(self._read())
        except ValueError as error:
            logger.error(
                "API_KEYS_FILE was not taken; the keys stay as they were. Reason: %s.",
                error,
            )
            return
        self._keys = keys
        logger.info(
            "API_KEYS_FILE was read again. There are %d keys now: %s.",
            *(len(keys), ", ".join(keys)),
        )

    def _look(self) -> Stamp | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
