"""The memory of a tree of processes: no look takes long, and all together find what is there."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import wait_until
from workers import memory
from workers.memory import STEP, Memory
from workers.process import descendants, kill_tree, proportional, resident


@contextmanager
def _tree(children: int) -> Iterator[int]:
    """A process with so many children, each with some 0.1 MB of its own; its id."""
    script = f"for each in $(seq {children}); do sleep 600 & done; echo begun; wait"
    command = ["sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield process.pid
        finally:
            kill_tree(process.pid, "")


def _opened(pid: int, limit_mb: int) -> Memory:
    found = Memory(limit_mb)
    found.open(pid)
    return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes whose resident size was read, one after the other."""
    found: list[int] = []

    def noted(pid: int) -> int:
        found.append(pid)
        return resident(pid)

    monkeypatch.setattr(memory, "resident", noted)
    return found


def test_a_large_tree_is_measured_in_several_looks(measured: list[int]) -> None:
    """The worker has others to look after while a fork bomb goes off."""
    counts: list[int] = []

    def is_over() -> bool:
        before = len(measured)
        over = tree.is_over()
        counts.append(len(measured) - before)
        return over

    with _tree(STEP * 3) as pid:
        tree = _opened(pid, 4)
        wait_until(is_over, "it has outgrown its limit")
        tree.close()

    assert counts[:4] == [STEP, STEP, STEP, 1]
    assert max(counts) <= STEP
    assert tree.peak_mb > 4


def test_a_small_tree_is_measured_at_one_look() -> None:
    """But for what it shares; a limit that it has not outgrown is none."""
    with _tree(30) as pid:
        small, large = _opened(pid, 1), _opened(pid, 1_000)
        wait_until(small.is_over, "it has outgrown its limit")
        small.close()

        assert not large.is_over()
        assert 0 < large.peak_mb < 1_000
        large.close()


def test_a_process_that_cannot_be_measured_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel waits for a lock of the process's, which that may hold for as long as it likes."""
    held = threading.Event()

    def stuck(pid: int) -> int:
        held.wait()
        return proportional(pid)

    monkeypatch.setattr(memory, "proportional", stuck)
    with _tree(3) as pid:
        tree = _opened(pid, 1)
        assert not tree.is_over()
        monkeypatch.setattr(memory, "PATIENCE", 0.0)
        assert tree.is_over()  # else it could take all memory

        monkeypatch.setattr(memory, "PATIENCE", 600.0)
        held.set()
        wait_until(lambda: tree.peak_mb or tree.is_over(), "it is measured")
        tree.close()


def test_each_measure_begins_anew(measured: list[int]) -> None:
    """A process that has ended does not count any more."""
    with _tree(3) as pid:
        tree = _opened(pid, 1_000)
        tree.is_over()
        before, measured[:] = set(measured), []
        ended = max(before - {pid})
        os.kill(ended, signal.SIGKILL)
        wait_until(lambda: ended not in descendants(pid), "it has gone")
        tree.is_over()
        tree.close()

    assert len(before) == 4
    assert set(measured) == before - {ended}
