"""How much of the processors a function's invocations want."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import wait_until
from workers.cpu import LEAST, CpuMeter


@dataclass(eq=False)
class _Working:
    """A process that has an invocation from its start on."""

    pid: int
    began: float

    @property
    def busy_seconds(self) -> float:
        return time.monotonic() - self.began


@contextmanager
def _running(code: str) -> Iterator[_Working]:
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        yield _Working(process.pid, time.monotonic())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _measured(working: _Working) -> float:
    """What a round says once the process has long been at what it does."""
    meter = CpuMeter()
    found: list[float] = []

    def is_steady() -> bool:
        time.sleep(LEAST)  # of less work nothing is known
        wanted = meter.measure([working])
        if wanted is not None:
            found.append(wanted)
        return len(found) >= 10

    wait_until(is_steady, "ten rounds have been measured")
    return sorted(found[-5:])[2]


def test_computing_wants_a_processor_all_the_time_and_sleeping_none() -> None:
    """Whatever else the machine does: waiting for a processor is wanting one."""
    with (
        _running("while True: pass") as computing,
        _running("import time; time.sleep(600)") as not_,
    ):
        wait_until(lambda: _measured(computing) > 0.7, "the one is seen to want it")
        wait_until(lambda: _measured(not_) < 0.3, "the other is not")


def test_children_count() -> None:
    """A handler that waits for a program it has started wants what that wants."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with _running(code) as parent:
        wait_until(lambda: _measured(parent) > 0.7, "it is seen to want it")


def test_too_little_work_says_nothing() -> None:
    """An environment that has done nothing since the last look is no measure."""
    working = _Working(0, time.monotonic())

    assert CpuMeter().measure([working]) is None
