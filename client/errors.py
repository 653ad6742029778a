"""What ends a command."""


class CommandError(Exception):
    """The command cannot go on; the message is for whoever typed it."""
