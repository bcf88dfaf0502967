"""The memory of an environment: how much its process tree has, and had at most."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from threading import Thread
from typing import Final

from workers.process import proportional, resident, tree

#: Seconds between looks at a busy environment.
TICK: Final = 0.1
#: Processes that one look sees, the next goes on from there: a fork bomb makes a thousand, and the
#: worker has others to look after.
STEP: Final = 64
#: Seconds for which a look waits for shares, and after which they are waited for no more.
MOMENT: Final = 0.01
PATIENCE: Final = 10.0
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
        self._walk = self._sizes()
        self._shares: _Shares | None = None
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
        """Look at so many processes of the tree; whether it is known to have outgrown its limit.

        Resident sizes come first: quick, and together never too small, since what forks share is
        counted more than once.
        """
        if self._shares is None:
            sizes = self._seen()
            size = sum(sizes.values())
            if size <= self._limit or len(sizes) == 1:
                self.saw(size)
                return size > self._limit
            self._shares = _Shares(sizes, self._limit)
        return self._is_over_sharing(self._shares)

    def _is_over_sharing(self, shares: _Shares) -> bool:
        size = shares.wait(MOMENT)
        if size is None:
            return shares.age > PATIENCE
        self._shares = None
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

    def _seen(self) -> dict[int, int]:
        """Go on: the resident size of each process, bytes, once all have been seen; none before."""
        for _ in range(STEP):
            sizes = next(self._walk)
            if sizes:
                self._walk = self._sizes()
                return sizes
        return {}

    def _sizes(self) -> Iterator[dict[int, int]]:
        """Nothing for each process; all sizes at the end."""
        sizes = {}
        for pid in tree(self._pid):
            sizes[pid] = resident(pid)
            yield {}
        yield sizes

    def _high_water(self) -> int:
        """Peak resident size of the process itself, bytes; 0 when it has gone. `VmHWM`."""
        words = _read(self._status).partition(b"VmHWM:")[2].split(None, 1)
        return int(words[0]) * 1024 if words else 0


class _Shares:
    """Sizes of processes with what they share divided among them, measured in a thread of its own.

    The kernel answers when it gets a lock of the process's: one that forks, or means harm, lets it
    wait for seconds. The worker must not.
    """

    def __init__(self, pids: Iterable[int], enough: int) -> None:
        """Begin; more than `enough` bytes need not be told apart."""
        self._begun = time.monotonic()
        self._size: int | None = None
        self._thread = Thread(target=self._measure, args=(list(pids), enough), daemon=True)
        self._thread.start()

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._begun

    def wait(self, seconds: float) -> int | None:
        """Bytes of all, if that is known by then."""
        self._thread.join(seconds)
        return self._size

    def _measure(self, pids: list[int], enough: int) -> None:
        size = 0
        for pid in pids:
            size += proportional(pid)
            if size > enough:
                break
        self._size = size


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 4096, 0)
    except OSError:
        return b""
