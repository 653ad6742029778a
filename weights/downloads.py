"""Fetch a file once, and keep it.

Weights are gigabytes, and connections break. The bytes that have arrived are kept, and
are not fetched again if the remote file is still the same. The complete file gets its
name in one step, so that no reader sees a part of it. A hash that is known is checked,
also of a file that was placed by hand; a note beside the folder keeps it, so that
gigabytes are not read again at each start.

Files lie where fairseq2 keeps its own, in a folder named after their URL, so both use
a model that either has fetched.

Functions block: they belong in a thread of their own.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from filelock import FileLock
from tqdm import tqdm

# Seconds after which a server that accepts a connection but sends nothing has failed.
_TIMEOUT_S = 60.0

# Some hosts refuse clients that do not claim to be a browser.
_HEADERS = {"user-agent": "Mozilla/5.0 (compatible; omniasr-server)"}


class DownloadFailed(Exception):
    """The file could not be fetched; the message says why."""


def cache_dir() -> Path:
    """Return the folder where downloads are kept."""
    if path := os.environ.get("FAIRSEQ2_CACHE_DIR"):
        return Path(path)
    if path := os.environ.get("XDG_CACHE_HOME"):
        return Path(path) / "fairseq2" / "assets"
    return Path("~/.cache/fairseq2/assets").expanduser()


def cached_bytes() -> int:
    """Count the bytes of downloads in progress."""
    return sum(
        file.stat().st_size
        for folder in cache_dir().glob("*.partial")
        for file in folder.iterdir()
        if file.is_file()
    )


def place_of(url: str) -> Path:
    """Return the folder that keeps the file of a URL, fetched or placed by hand."""
    folder = hashlib.sha1(url.encode()).hexdigest()[:24]
    return cache_dir() / folder / unquote(Path(urlsplit(url).path).name)


def fetch(
    url: str,
    *,
    sha256: str | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> Path:
    """Return the file of a URL; fetch it if it is not there yet.

    Args:
        url: A URL with HTTP or HTTPS.
        sha256: The expected hash of the file, in hexadecimal; None if unknown.
        on_start: Called before the file is fetched, if it has to be.

    Raises:
        DownloadFailed: The file could not be fetched, for any reason.
    """
    place = place_of(url)
    try:
        if found := _kept(place.parent):
            _check_kept(found, sha256)
            return found
        on_start()
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        partial = place.parent.with_suffix(".partial")
        # Another process may have fetched it meanwhile; its file is as good.
        with FileLock(partial.with_suffix(".lock")):
            if found := _kept(place.parent):
                _check_kept(found, sha256)
                return found
            partial.mkdir(exist_ok=True)
            _fetch_all(url, partial / place.name)
            _verify(partial / place.name, sha256)
            _validator(partial / place.name).unlink(missing_ok=True)
            partial.rename(place.parent)
            _note_checked(place, sha256)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DownloadFailed(str(error) or type(error).__name__) from error
    return place


def _kept(folder: Path) -> Path | None:
    """Return the complete file in a folder, downloaded or placed by hand."""
    files = [path for path in folder.glob("*") if path.is_file()]
    return files[0] if len(files) == 1 else None


def _fetch_all(url: str, path: Path) -> None:
    """Fetch a file; after a break continue there, as long as each try brings bytes."""
    with httpx.Client(
        timeout=_TIMEOUT_S, follow_redirects=True, headers=_HEADERS
    ) as client:
        while True:
            before = _size(path)
            try:
                _fetch_rest(client, url, path)
                return
            except httpx.TransportError:
                if _size(path) <= before:
                    raise


def _fetch_rest(client: httpx.Client, url: str, path: Path) -> None:
    """Fetch the missing part of a file, or all of it if the remote file has changed."""
    headers = {}
    if _size(path) and (validator := _read(_validator(path))):
        headers = {"range": f"bytes={_size(path)}-", "if-range": validator}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            path.unlink()
            raise DownloadFailed("the kept part was of another file; try again")
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        start = _size(path) if resumed else 0
        missing = int(response.headers.get("content-length", 0))
        _check_disk(path.parent, missing)
        _validator(path).write_text(_validator_of(response))
        with path.open("ab" if resumed else "wb") as file:
            for chunk in _shown(response, path.name, start, start + missing):
                file.write(chunk)
    if missing and _size(path) != start + missing:
        raise httpx.RemoteProtocolError(
            f"the server sent {_size(path) - start} bytes of {missing}"
        )


def _shown(
    response: httpx.Response, name: str, start: int, end: int
) -> Iterator[bytes]:
    """Pass a response on, with a progress bar on a terminal."""
    with tqdm(
        desc=name,
        initial=start,
        total=end or None,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        for chunk in response.iter_raw():
            bar.update(len(chunk))
            yield chunk


def _check_disk(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise DownloadFailed(
            f"{missing / 1e9:.1f} GB are missing, and {folder} has room for "
            f"{free / 1e9:.1f} GB"
        )


def _verify(path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    if wrong := wrong_hash(path, sha256):
        path.unlink()
        raise DownloadFailed(wrong)


def wrong_hash(path: Path, sha256: str) -> str | None:
    """Say that a file has another hash than the expected one; None if it has not.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256.strip().lower():
        return None
    return f"its SHA-256 is {found} and should be {sha256}"


def _check_kept(path: Path, sha256: str | None) -> None:
    """Check a file that was there already, unless a note says that it was checked."""
    if sha256 is None:
        return
    if _read(_note(path)) == _checked(path, sha256):
        return
    if wrong := wrong_hash(path, sha256):
        raise DownloadFailed(f"{path} is there, but {wrong}; remove it")
    _note_checked(path, sha256)


def _note_checked(path: Path, sha256: str | None) -> None:
    if sha256 is not None:
        with suppress(OSError):  # the folder may be read-only
            _note(path).write_text(_checked(path, sha256))


def _note(path: Path) -> Path:
    return path.parent.with_suffix(".checked")


def _checked(path: Path, sha256: str) -> str:
    status = path.stat()
    return f"{sha256.lower()} {path.name} {status.st_size} {status.st_mtime_ns}"


def _validator(path: Path) -> Path:
    """Return the file that keeps the remote file's version (its ETag)."""
    return path.with_name(f"{path.name}.validator")


def _validator_of(response: httpx.Response) -> str:
    """Return the version of the remote file; empty if it has none."""
    tag: str = response.headers.get("etag", "")
    if tag and not tag.startswith("W/"):  # a weak tag does not identify bytes
        return tag
    modified: str = response.headers.get("last-modified", "")
    return modified


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
