"""The second host's intake or worker, by a clock of its own.

What reads `time.time()` there has it: Celery's transport, which takes messages for lost by the
clock of whoever looks, and the lease that it is held off with. `datetime` keeps the true time, or
the object store would refuse all requests.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

_SECONDS = struct.Struct("d")


class Clock:
    """Seconds by which a clock is ahead, in a file that several processes map."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SECONDS.size)

    @classmethod
    def make(cls, path: Path) -> Clock:
        """One that is right."""
        path.write_bytes(_SECONDS.pack(0.0))
        return cls(path)

    def set(self, ahead: float) -> None:
        """Have it so many seconds ahead of the true time."""
        self._map[:] = _SECONDS.pack(ahead)

    def install(self) -> None:
        """Have this process go by it; before anything else is imported."""
        true = time.time
        time.time = lambda: true() + _SECONDS.unpack(self._map)[0]


def main(path: str, part: str) -> None:
    """Be that part."""
    Clock(Path(path)).install()
    from bucketwheel.cli import main

    main([part])


if __name__ == "__main__":
    main(*sys.argv[1:])
