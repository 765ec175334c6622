"""The network: only the preparation of data and the fetching of weights ever use it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Of a connection, and of each wait for more to come: a firewall may swallow packets in silence.
TIMEOUT_SECONDS = 20.0


@contextmanager
def answers_within(seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Within the block, sockets opened by libraries that set no time-out give up after `seconds`
    without an answer (TimeoutError)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
