"""Limits that no kernel holds here: they are looked at while an environment is busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, Literal

from workers.process import descendants

Limit = Literal["processes", "tmp"]

_MB: Final = 1024 * 1024
#: Files that one look counts; the next goes on from there.
_STEP: Final = 500


class Watch:
    """Counts processes and the size of a folder."""

    def __init__(self, tmp: str = "", tmp_mb: int = 0, processes: int = 0) -> None:
        """A folder "", or 0 processes: the kernel holds that limit."""
        self._tmp, self._limit = tmp, tmp_mb * _MB
        self._processes = processes
        self._walk: Iterator[int] | None = None
        self._size = 0

    def exceeded(self, pid: int) -> Limit | None:
        """Look at the tree of a process; which limit it is over."""
        if self._processes and len(descendants(pid)) >= self._processes:
            return "processes"
        return "tmp" if self._tmp and self._is_full() else None

    def _is_full(self) -> bool:
        """Count on, so many files a look; over the limit, it is told before all are counted."""
        if self._walk is None:
            self._walk, self._size = _sizes(self._tmp), 0
        for _ in range(_STEP):
            size = next(self._walk, None)
            if size is None:
                self._walk = None
                break
            self._size += size
        return self._size > self._limit


def _sizes(folder: str) -> Iterator[int]:
    """Bytes on the disk of each file below a folder; links are not followed."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it was just removed
