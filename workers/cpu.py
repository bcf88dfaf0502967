"""How much a function's invocations want a processor: on one, or waiting for one; and how much of
the processors nobody wants.

Waiting counts, since it is what one more invocation would add to: a function that only computes
wants a processor all the time, however many of its invocations share it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import psutil

from workers.process import descendants
from workers.scaling import FADING

#: Environments of a function that are looked at in one round.
SAMPLE: Final = 32
#: Seconds of work below which nothing is known.
LEAST: Final = 0.05
_NANO: Final = 1e9


class Working(Protocol):
    """What is measured: an environment."""

    @property
    def pid(self) -> int:
        """Process id of the runtime; 0 while there is none."""

    @property
    def busy_seconds(self) -> float:
        """Seconds in which it had an invocation, so far."""


class Processors:
    """This host's processors, whoever uses them."""

    def __init__(self) -> None:
        self._last = _times()

    def idle(self) -> float:
        """The part of the time since the last look in which they had nothing to do."""
        (idle_before, before), self._last = self._last, _times()
        idle, total = self._last
        return (idle - idle_before) / (total - before) if total > before else 0.0


class CpuMeter:
    """Compares what environments of one function have used with what they had at the last look.

    Older looks count less and less; one at many environments more than one at few.
    """

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[Working, tuple[int, float, float]] = WeakKeyDictionary()
        self._wanted = self._busy = 0.0

    def begin(self, environment: Working) -> None:
        """One has initialised: what that took is not its invocations'."""
        pid = environment.pid
        if pid:
            self._last[environment] = pid, _wanted(pid), environment.busy_seconds

    def measure(self, environments: Iterable[Working]) -> float | None:
        """Processors that one invocation wants on average; None: there was too little work."""
        self._wanted *= FADING
        self._busy *= FADING
        for each in islice(environments, SAMPLE):
            wanted, busy = self._since_last(each)
            self._wanted += wanted
            self._busy += busy
        return self._wanted / self._busy if self._busy >= LEAST else None

    def _since_last(self, environment: Working) -> tuple[float, float]:
        pid, busy = environment.pid, environment.busy_seconds
        last = self._last.get(environment)
        if not pid or (last is not None and last[2] == busy):
            return 0.0, 0.0
        wanted = _wanted(pid)
        self._last[environment] = pid, wanted, busy
        if last is None or last[0] != pid:
            return 0.0, 0.0
        # What has ended since took its count with it.
        return max(0.0, wanted - last[1]), busy - last[2]


def _times() -> tuple[float, float]:
    """Seconds of all processors without work, and all seconds."""
    found = psutil.cpu_times()
    return found.idle + found.iowait, sum(found[:8])  # what follows is contained in these


def _wanted(pid: int) -> float:
    """Seconds in which a tree of processes ran or waited for a processor. proc(5): schedstat."""
    return sum(_of_process(each) for each in [pid, *descendants(pid)]) / _NANO


def _of_process(pid: int) -> int:
    folder = f"/proc/{pid}/task"
    try:
        return sum(_of_thread(f"{folder}/{each}") for each in os.listdir(folder))
    except OSError:
        return 0


def _of_thread(folder: str) -> int:
    try:
        with open(f"{folder}/schedstat", "rb") as file:
            running, waiting, _ = file.read().split()
    except (OSError, ValueError):
        return 0
    return int(running) + int(waiting)
