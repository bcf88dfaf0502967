"""Work for autoscalers: what only computes, what only waits, both together, and by turns.

A round is so many invocations of the same work, queued at once; from just before the first is
queued until all have ended.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson

from benchmarks.plain_celery import CORES, PlainCelery
from benchmarks.starts import calls_of
from benchmarks.system import System

_Job = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Work:
    """Functions of functions/work, which take turns."""

    name: str
    functions: tuple[str, ...]
    #: Invocations of a round: some seconds of work for the best concurrency.
    count: int
    #: Fixed concurrencies, the largest about four times what is surely enough.
    sweep: tuple[int, ...]

    def jobs(self, count: int) -> list[_Job]:
        """So many functions and their events, the same in each run."""
        chance = random.Random(self.name)
        names = (self.functions[number % len(self.functions)] for number in range(count))
        return [(name, {"seconds": chance.uniform(0.1, 0.3)}) for name in names]

    def some(self, concurrency: int) -> int:
        """As many invocations as take a fixed concurrency no longer than the best takes for all."""
        knee = self.sweep[-1] // 4
        return max(2 * concurrency, self.count * min(concurrency, knee) // knee)


def _work(name: str, functions: tuple[str, ...], count: int, *sweep: int) -> Work:
    """Numbers are for two cores; more cores get more of both in proportion."""
    scaled = dict.fromkeys(max(1, each * CORES // 2) for each in sweep)
    return Work(name, functions, count * CORES // 2, tuple(scaled))


COMPUTING: Final = _work("CPU-bound", ("computing",), 120, 1, 2, 3, 4, 6, 8, 16)
WAITING: Final = _work("I/O-bound", ("waiting",), 1_200, 16, 32, 64, 128, 256)
MIXED: Final = _work("mixed", ("computing", *3 * ("waiting",)), 320, 4, 8, 16, 32, 64)
ALTERNATING: Final = _work("alternating", ("alternating",), 160, 4, 8, 16, 32, 64)
ALL: Final = (COMPUTING, WAITING, MIXED, ALTERNATING)


def ours(running: System, work: Work, count: int) -> float:
    """Invocations a second of one round through our system."""
    calls = calls_of(running)
    jobs = [(name, orjson.dumps(event)) for name, event in work.jobs(count)]
    before = {name: running.count(name) for name in work.functions}
    start = time.perf_counter()
    for name, event in jobs:
        calls.enqueue(name, event)
    for name, done in before.items():
        running.wait_for(name, done + sum(each == name for each, _ in jobs))
    return count / (time.perf_counter() - start)


def plain(celery: PlainCelery, work: Work, count: int) -> float:
    """Tasks a second of one round through plain Celery."""
    jobs = work.jobs(count)
    start = time.perf_counter()
    for name, event in jobs:
        celery.send("plain.work", name, event)
    celery.wait_for_done(count)
    return count / (time.perf_counter() - start)
