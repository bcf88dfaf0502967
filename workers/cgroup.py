"""Control groups, version 2: the kernel itself holds the memory and processes of an environment.

https://docs.kernel.org/admin-guide/cgroup-v2.html. They are used where a group has been delegated
to us (systemd's `Delegate=yes`, or the root of a container's own hierarchy) and has the memory
controller. Groups with limits may hold no processes themselves, so what runs in ours moves into a
leaf of its own first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_LEAF: Final = "bucketwheel-worker"
_MB: Final = 1024 * 1024


class Group:
    """The group of one environment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> int:
        """A descriptor to which a process writes `0` to enter; to be closed.

        Raises:
            OSError: the group has gone.
        """
        return os.open(self._path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed it for its memory."""
        return self._count("memory.events", "oom_kill") > 0

    def remove(self) -> None:
        """Remove it, once nothing runs in it; what still runs there keeps it until the next try."""
        with suppress(OSError):
            self._path.rmdir()

    def _count(self, file: str, name: str) -> int:
        try:
            lines = (self._path / file).read_text().splitlines()
        except OSError:
            return 0
        pairs = (line.split() for line in lines)
        return next((int(count) for key, count in pairs if key == name), 0)


class Groups:
    """Makes the groups of environments below one that is ours."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def make(self, id: str, memory_mb: int, processes: int) -> Group:
        """Make a group; at its limit of memory all that is in it is killed at once.

        Raises:
            OSError: the kernel refuses.
        """
        path = self._base / f"bucketwheel-{id}"
        path.mkdir(exist_ok=True)
        (path / "memory.max").write_text(str(memory_mb * _MB))
        (path / "memory.oom.group").write_text("1")
        for name, limit in (("memory.swap.max", 0), ("pids.max", processes)):
            with suppress(FileNotFoundError):  # no swap, no such controller
                (path / name).write_text(str(limit))
        return Group(path)


def find(root: Path = _ROOT) -> Groups | None:
    """Groups of ours, if memory can be limited by them; moves this process's group into a leaf."""
    base = _delegated(root)
    if base is None:
        return None
    try:
        leaf = base / _LEAF
        leaf.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(pid)
        wanted = {"memory", "pids"} & set((base / "cgroup.controllers").read_text().split())
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
    except OSError:
        return None
    return Groups(base)


def _delegated(root: Path) -> Path | None:
    """Our own group, where it is ours to divide."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        path = next(line[3:] for line in lines if line.startswith("0::"))
        base = root / path.lstrip("/")
        if base.name == _LEAF:  # a worker before us has moved us there
            base = base.parent
        controllers = (base / "cgroup.controllers").read_text().split()
    except (OSError, StopIteration):
        return None
    is_ours = base == root or _is_marked(base)
    return base if is_ours and "memory" in controllers else None


def _is_marked(base: Path) -> bool:
    """Whether systemd has marked it as delegated."""
    for name in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(base, name) == b"1":
                return True
    return False
