"""Tell a container engine whether to send work: exit with 0 if `/ready` says so."""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen


def main() -> int:
    """Ask the server in this container; return the exit status."""
    port = os.environ.get("PORT") or "8000"
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=4):
            return 0
    except (URLError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
