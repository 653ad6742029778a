"""The error that ends a command."""


class CommandError(Exception):
    """The command cannot go on; the message is for its user."""


def with_wait(message: str, wait_s: object) -> str:
    """Add the seconds to wait to a server's message, unless it names them already."""
    if not wait_s or "try again in" in message.lower():
        return message
    return f"{message} (try again in {wait_s} s)"
