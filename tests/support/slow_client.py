"""A client that takes its time."""

import contextlib
import socket


def send_slowly(client: socket.socket) -> int:
    """Send a byte whenever there is no answer for a while; return how many."""
    client.settimeout(0.02)
    n_sent = 0
    while n_sent < 1000:
        with contextlib.suppress(TimeoutError):
            client.recv(1, socket.MSG_PEEK)
            break
        client.sendall(b"x")
        n_sent += 1
    client.settimeout(30)
    return n_sent
