"""The memory of an environment: how much its process tree has, and had at most."""

from __future__ import annotations

import os
from typing import Final

from workers.process import descendants, proportional, resident

#: Seconds between looks at a busy environment.
TICK: Final = 0.1
_MB: Final = 1024 * 1024


class Memory:
    """Measures one process tree.

    Files of proc(5) are kept open: to read one again costs a tenth of opening it, and each
    invocation's end reads them.
    """

    def __init__(self, limit_mb: int) -> None:
        self._limit = limit_mb * _MB
        self._peak = 0
        self._pid = 0
        self._status = self._children = -1

    def open(self, pid: int) -> None:
        """Begin to measure the tree of this process; one that has gone already has none."""
        self._pid = pid
        try:
            self._status = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
            self._children = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the process; closing twice is safe."""
        for descriptor in (self._status, self._children):
            if descriptor >= 0:
                os.close(descriptor)
        self._status = self._children = -1

    @property
    def peak_mb(self) -> int:
        """The most it ever had, megabytes, rounded up."""
        return -(-self._peak // _MB)

    def is_over(self) -> bool:
        """Look at the whole tree; whether it has outgrown its limit."""
        size = self._size([self._pid, *descendants(self._pid)])
        self.saw(size)
        return size > self._limit

    def look(self) -> None:
        """Look at an invocation's end.

        Of a process alone the kernel keeps the peak; a tree's is the largest size that was seen.
        """
        self.saw(self._high_water())
        if _read(self._children):
            self.is_over()

    def saw(self, resident: int) -> None:
        """Take a size that was measured, bytes."""
        self._peak = max(self._peak, resident)

    def _size(self, pids: list[int]) -> int:
        """Bytes that these have, without counting twice what forks share.

        Their resident sizes are looked at first: quick, and never too small.
        """
        size = sum(map(resident, pids))
        if size > self._limit and len(pids) > 1:
            size = sum(map(proportional, pids))
        return size

    def _high_water(self) -> int:
        """Peak resident size of the process itself, bytes; 0 when it has gone. `VmHWM`."""
        words = _read(self._status).partition(b"VmHWM:")[2].split(None, 1)
        return int(words[0]) * 1024 if words else 0


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 4096, 0)
    except OSError:
        return b""
