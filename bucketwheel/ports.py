"""Ports on the loopback interface: free ones, and those that others hold."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from bucketwheel.errors import StartError
from bucketwheel.settings import LOOPBACK


def choose(wanted: dict[str, int]) -> dict[str, int]:
    """A port for each setting's name: the one it asks for, or with 0 a free one.

    Raises:
        StartError: one is taken; the message names its setting.
    """
    with ExitStack() as held:
        return {name: _hold(name, port, held) for name, port in wanted.items()}


def _hold(name: str, port: int, held: ExitStack) -> int:
    """Hold a port until all are chosen, so that no two are the same."""
    listener = held.enter_context(socket.socket())
    # Connections that are only lingering do not count as somebody's.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(1)
    except PermissionError:
        raise StartError(
            f"port {port} needs more rights: set BUCKETWHEEL_{name} to one above 1023"
        ) from None
    except OSError:
        raise StartError(
            f"port {port} is taken: set BUCKETWHEEL_{name} to another, or 0 for any free one"
        ) from None
    found: int = listener.getsockname()[1]
    return found
