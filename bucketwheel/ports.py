"""Ports on the loopback interface: free ones, and those that others hold."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bucketwheel.errors import StartError
from bucketwheel.settings import LOOPBACK

#: What the kernel gives to outgoing connections; ip(7).
_OUTGOING: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Below are services of the system and others with a number of their own.
_LOWEST: Final = 10_240
#: Ports that are tried, before the kernel may choose any.
_TRIES: Final = 200


def choose(wanted: dict[str, int]) -> dict[str, int]:
    """A port for each setting's name: the one it asks for, or with 0 a free one.

    Raises:
        StartError: one is taken; the message names its setting.
    """
    with ExitStack() as held:
        return {
            name: _hold(name, port, held) if port else _hold_any(held)
            for name, port in wanted.items()
        }


def _hold_any(held: ExitStack) -> int:
    """Hold a free port that no connection gets by chance, before its server has it or while that
    is restarted.
    """
    first = int(_OUTGOING.read_text().split()[0])
    candidates = range(_LOWEST, max(first, _LOWEST))
    for port in random.sample(candidates, min(_TRIES, len(candidates))):
        try:
            return _listen(port, held)
        except OSError:
            continue
    return _listen(0, held)


def _hold(name: str, port: int, held: ExitStack) -> int:
    """Hold a port until all are chosen, so that no two are the same."""
    try:
        return _listen(port, held)
    except PermissionError:
        raise StartError(
            f"port {port} needs more rights: set BUCKETWHEEL_{name} to one above 1023"
        ) from None
    except OSError:
        raise StartError(
            f"port {port} is taken: set BUCKETWHEEL_{name} to another, or 0 for any free one"
        ) from None


def _listen(port: int, held: ExitStack) -> int:
    listener = held.enter_context(socket.socket())
    # Connections that are only lingering do not count as somebody's.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(1)
    found: int = listener.getsockname()[1]
    return found
