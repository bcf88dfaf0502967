"""The memory of an environment: how much its process tree has, and had at most."""

from __future__ import annotations

from typing import Final

from workers.process import peak_memory, tree_memory

#: Seconds between looks at a busy environment.
TICK: Final = 0.1
_MB: Final = 1024 * 1024


class Memory:
    """Measures one process tree."""

    def __init__(self, limit_mb: int) -> None:
        self.pid = 0
        self._limit = limit_mb * _MB
        self._peak = 0

    @property
    def peak_mb(self) -> int:
        """The most it ever had, megabytes, rounded up."""
        return -(-self._peak // _MB)

    def is_over(self) -> bool:
        """Look at it; whether it has outgrown its limit."""
        return self.look() > self._limit

    def look(self) -> int:
        """Look at it; returns its resident size now, bytes.

        Of a process alone the kernel keeps the peak; a tree's is the largest sum that was seen.
        """
        resident, has_children = tree_memory(self.pid)
        self.saw(resident if has_children else peak_memory(self.pid))
        return resident

    def saw(self, resident: int) -> None:
        """Take a size that somebody else has measured, bytes."""
        self._peak = max(self._peak, resident)
