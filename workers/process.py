"""A tree of processes: what belongs to it, how much memory it has, how to end all of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """Resident size of one process, bytes; 0 when it has gone. proc(5)."""
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * _PAGE if words else 0


def proportional(pid: int) -> int:
    """Resident size of one process, bytes, with what it shares divided among those who share it.

    Costs a look at each of its mappings. proc(5): smaps_rollup.
    """
    words = _read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")[2].split(None, 1)
    return int(words[0]) * 1024 if words else 0


def tree(pid: int) -> Iterator[int]:
    """The process, its children, and theirs; each is looked for when the one before was taken."""
    waiting = [pid]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += _children(found)


def descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    return list(tree(pid))[1:]


def name_of(mark: str) -> str:
    """The process name of an environment; a fork inherits it, where an exec inherits variables."""
    return f"fn-{mark[:12]}"


def kill_tree(pid: int, mark: str) -> None:
    """Kill a process, its session, and all that carries its mark: by variables or by name.

    Without a mark, only the tree and the session. Each round stops what it finds before it looks
    again, so that nothing can outrun it by forking.
    """
    stopped: set[int] = set()
    for _ in range(50):
        found = _belonging(pid, mark) - stopped
        for each in found:
            _signal(each, signal.SIGSTOP)
        stopped |= found
        if not found:
            break
    for each in stopped:
        _signal(each, signal.SIGKILL)


def _belonging(pid: int, mark: str) -> set[int]:
    """Descendants; members of the session, which survive their parents; and what left both."""
    if pid <= 0:  # session 0 is the kernel's, and in a container that of processes outside
        raise ValueError(f"{pid} is no process id")
    found = {pid, *descendants(pid)} if _exists(pid) else set()
    for entry in os.listdir(_PROC):
        if entry.isdigit() and int(entry) not in found:
            each = int(entry)
            if _session(each) == pid or (mark and _carries(each, mark)):
                found.add(each)
    found.discard(os.getpid())
    return found


def _carries(pid: int, mark: str) -> bool:
    return _name(pid) == name_of(mark).encode() or mark.encode() in _variables(pid)


def _children(pid: int) -> Iterator[int]:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from (int(child) for child in file.read().split())
    except OSError:
        return


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _name(pid: int) -> bytes:
    return _read(f"/proc/{pid}/comm").rstrip(b"\n")


def _variables(pid: int) -> bytes:
    return _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
