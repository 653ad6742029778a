"""Tell a container engine whether the server works: exit with 0 if `/ready` says so.

A server that is full works, also where it tells balancers to send nothing.
"""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen


def main() -> int:
    """Ask the server in this container; return the exit status."""
    port = os.environ.get("PORT") or "8000"
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready?full=ok", timeout=4):
            return 0
    except (URLError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
