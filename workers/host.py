"""What this host can give to environments."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

from workers.scaling import Host
from workers.settings import WorkerSettings

#: Part of the memory that environments get; the rest is for the servers, the system, its caches.
PART: Final = 0.8
_MB: Final = 1024 * 1024
_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")


def host(settings: WorkerSettings) -> Host:
    """By the settings, and where these say nothing, by what the machine has."""
    return Host(settings.concurrency, settings.memory or int(_memory() * PART) // _MB)


def _memory() -> int:
    """Bytes of this machine, or of the container this runs in."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return total
