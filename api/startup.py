"""Checks before the server starts, and their messages."""

import errno
import socket
import tempfile
from pathlib import Path

import psutil

from api.loading import about_partials
from config import Settings
from weights.cards import ModelUnavailable
from weights.places import check_name


def unknown_card(name: str, model_dir: Path | None) -> str | None:
    """Say that there is no such card, before PyTorch is imported.

    Folders and repositories are looked at when the model is loaded.
    """
    try:
        check_name(name, model_dir=model_dir)
    except ModelUnavailable as error:
        return f"MODEL_CARD={name}: {error}"
    return None


def unknown_partials_card(settings: Settings) -> str | None:
    """Say the same of the model for partials, if there is one."""
    if not settings.partials_card:
        return None
    try:
        check_name(settings.partials_card, model_dir=settings.model_dir)
    except ModelUnavailable as error:
        return about_partials(error, settings)
    return None


def port_taken(host: str, port: int) -> str | None:
    """Say that another program listens on the port, and name it, if possible."""
    if port == 0:
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None  # the real start reports it
            return (
                f"PORT={port} is taken{_by_whom(port)}: stop it, or set PORT to "
                "another number."
            )
    return None


def _by_whom(port: int) -> str:
    try:
        for own in psutil.net_connections("tcp"):
            if own.laddr and own.laddr.port == port and own.status == "LISTEN":
                name = psutil.Process(own.pid).name() if own.pid else "another program"
                return f" by {name} (process {own.pid})" if own.pid else f" by {name}"
    except psutil.Error:
        pass  # only root may know it here
    return " by another program"


def spools_elsewhere(wanted: str | None) -> str | None:
    """Say that uploads are not kept in the folder of TMPDIR.

    Args:
        wanted: The value of TMPDIR; None if it is not set.
    """
    if not wanted:
        return None
    try:
        used = tempfile.gettempdir()
    except FileNotFoundError:
        return None  # it is said every time that a recording is refused for it
    if Path(used).resolve() == Path(wanted).resolve():
        return None
    return f"TMPDIR={wanted} cannot be used; uploads are kept in {used} instead."


def open_to(host: str, port: int) -> str:
    """Say which clients can use a server without keys, and how to change that."""
    if host in ("127.0.0.1", "::1", "localhost"):
        return f"No API_KEYS are set: all programs on this machine can use port {port}."
    whole = host in ("0.0.0.0", "::")
    place = "this machine, on all its networks," if whole else host
    return (
        f"No API_KEYS are set: all clients that reach {place} can use port {port}. "
        "Set API_KEYS to require a key, or HOST=127.0.0.1 to serve only this machine."
    )
