"""Fetch a file once, and keep it.

Weights are gigabytes over other people's networks. What has arrived is kept when a
connection breaks and fetched no second time, if the server's file is still the
same; the whole file appears under its name in one step, so nobody reads a part.

Files lie where fairseq2 keeps its own, in a folder named after their address, so a
model that either has fetched serves both.

Blocking: belongs into a thread of its own.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from filelock import FileLock
from tqdm import tqdm

# A server that accepts a connection and then says nothing is given up after this.
_TIMEOUT_S = 60.0

# Some hosts turn away what does not call itself a browser.
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
    """Return where the file of an address is kept, fetched or placed by hand."""
    folder = hashlib.sha1(url.encode()).hexdigest()[:24]
    return cache_dir() / folder / unquote(Path(urlsplit(url).path).name)


def fetch(
    url: str,
    *,
    sha256: str | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> Path:
    """Return the file of an address, fetching it where it is not there yet.

    Args:
        url: HTTP or HTTPS.
        sha256: What the file's hash has to be, in hexadecimal; None if unknown.
        on_start: Called if it has to be fetched, before it is.

    Raises:
        DownloadFailed: Whatever the reason.
    """
    place = place_of(url)
    try:
        if found := _kept(place.parent):
            return found
        on_start()
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        partial = place.parent.with_suffix(".partial")
        # Somebody else may be fetching it; his file will do.
        with FileLock(partial.with_suffix(".lock")):
            if found := _kept(place.parent):
                return found
            partial.mkdir(exist_ok=True)
            _fetch_all(url, partial / place.name)
            _verify(partial / place.name, sha256)
            _validator(partial / place.name).unlink(missing_ok=True)
            partial.rename(place.parent)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DownloadFailed(str(error) or type(error).__name__) from error
    return place


def _kept(folder: Path) -> Path | None:
    """Return the file in a folder that a download, or somebody's hand, has filled."""
    files = [path for path in folder.glob("*") if path.is_file()]
    return files[0] if len(files) == 1 else None


def _fetch_all(url: str, path: Path) -> None:
    """Fetch a file, going on where a connection broke, as long as that helps."""
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
    """Fetch what is missing of a file, or all of it if the server's has changed."""
    headers = {}
    if _size(path) and (validator := _read(_validator(path))):
        headers = {"range": f"bytes={_size(path)}-", "if-range": validator}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            path.unlink()
            raise DownloadFailed("the file kept so far was not the server's; try again")
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
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        path.unlink()
        raise DownloadFailed(f"its SHA-256 is {found} and should be {sha256}")


def _validator(path: Path) -> Path:
    """Where the server's name for this state of its file is kept."""
    return path.with_name(f"{path.name}.validator")


def _validator_of(response: httpx.Response) -> str:
    """Return what tells this state of the file from a later one; empty if nothing."""
    tag: str = response.headers.get("etag", "")
    if tag and not tag.startswith("W/"):  # a weak tag says nothing about bytes
        return tag
    modified: str = response.headers.get("last-modified", "")
    return modified


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
