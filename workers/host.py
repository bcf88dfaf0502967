"""What this host can give to environments."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from workers.scaling import Host
from workers.settings import WorkerSettings

#: Part of the memory that environments get; the rest is for the servers, the system, its caches.
PART: Final = 0.8
_MB: Final = 1024 * 1024
#: The limit of a container, by version 2 and by version 1 of control groups.
_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def host(settings: WorkerSettings) -> Host:
    """By the settings, and where these say nothing, by what the machine has."""
    return Host(settings.concurrency, settings.memory or int(_memory() * PART) // _MB)


def _memory() -> int:
    """Bytes of this machine, or of the container this runs in."""
    known: list[int] = [psutil.virtual_memory().total]
    for each in _LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            known.append(int(each.read_text()))
    return min(known)
