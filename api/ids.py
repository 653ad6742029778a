"""Make ids of requests and sessions that name the process which made them.

The ids of one process begin with the same eight digits, so that the logs of several
processes behind one address can be told apart. `/health`, the metrics and the log's
lines in JSON show these digits as `process`. They are drawn at each start, and reveal
nothing about the machine.
"""

import secrets
import uuid

PROCESS = secrets.token_hex(4)


def new_id(n_digits: int = 32) -> str:
    """Return a new id of hexadecimal digits; one of 32 is a UUID.

    Args:
        n_digits: Number of digits, from 20 to 32: fewer would meet again.
    """
    return (PROCESS + uuid.uuid4().hex[len(PROCESS) :])[:n_digits]
