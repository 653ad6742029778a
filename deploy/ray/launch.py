"""Become the server, on a port that is handed over, and stop when its replica is gone.

    python launch.py PID DESCRIPTOR

The kernel is asked for SIGTERM at the end of the process that has started this one
(Linux only), and that survives `exec`. So the server never outlives its replica by more
than the time that it gives its streams. The port is handed over as systemd does it.

Source: prctl(2), PR_SET_PDEATHSIG; sd_listen_fds(3).
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

SERVER = Path(__file__).resolve().parents[2] / "server.py"

_SET_PARENT_DEATH_SIGNAL = 1
_FIRST_HANDED_OVER = 3


def main(replica: int, listener: int) -> NoReturn:
    """Become the server.

    Args:
        replica: The process that has started this one.
        listener: Descriptor of the socket on which the server listens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != replica:  # it was gone before the kernel was asked
        sys.exit("The replica that started this server is gone.")
    if listener != _FIRST_HANDED_OVER:
        os.dup2(listener, _FIRST_HANDED_OVER)
        os.close(listener)
    os.set_inheritable(_FIRST_HANDED_OVER, True)
    handed_over = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execve(sys.executable, [sys.executable, str(SERVER)], os.environ | handed_over)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
