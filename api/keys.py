"""Hold the keys, and read their file again when it changes.

A file that is unreadable or has mistakes changes nothing: the keys stay as they were,
and the log says why. A change ends nothing that runs: a session whose key is removed
goes on to its end; the next one is refused.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from config import ApiKey, Quota

logger = logging.getLogger("omniasr")

# Seconds between checks of the file. Not all kinds of folders report changes.
_LOOK_EVERY_S = 2.0

# The file's time of change, its length and its inode.
Stamp = tuple[int, int, int]


class KeyRing:
    """The keys of the server. Made in any thread, then used in the event loop.

    Args:
        read: Reads all keys by name; its ValueError says what is wrong.
        file: The file to watch for changes.
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

        It compares with all keys, so that the time reveals none of them.
        """
        found = None
        for name, known in self._keys.items():
            if hmac.compare_digest(sent, known.key.encode()):
                found = name
        return found

    def quota_of(self, name: str | None) -> Quota:
        """Return a key's own limits."""
        known = self._keys.get(name) if name is not None else None
        return Quota() if known is None else known.quota

    def ask_to_reload(self) -> None:
        """Let the file be read again soon. For any thread, and for signal handlers."""
        if self._loop is None:
            self._asked.set()  # `watch` does not run yet
        else:
            self._loop.call_soon_threadsafe(self._asked.set)

    async def watch(self) -> None:
        """Read the file again whenever it changes, or after `ask_to_reload`."""
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
        """Read the file again if it has changed since it was last read."""
        if self._look() != self._stamp:
            self.reload()

    def reload(self) -> None:
        """Read the file again; keep the keys if that fails."""
        if self._file is None:
            logger.warning("There is no API_KEYS_FILE to read again.")
            return
        self._stamp = self._look()
        try:
            keys = dict(self._read())
        except ValueError as error:
            logger.error(
                "API_KEYS_FILE was not used; the keys stay as they were. Reason: %s.",
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
