"""Can another machine be reached at all? Asked before a client that would retry for minutes."""

import socket

_SECONDS = 4.0


def knock(host: str) -> None:
    """Open and close one HTTPS connection.

    Raises:
        OSError: `host` cannot be resolved or does not answer within 4 seconds.
    """
    socket.create_connection((host, 443), timeout=_SECONDS).close()
