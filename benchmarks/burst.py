"""A burst of sleeping invocations from zero: from just before the first is queued until all run.

Each says when it was entered, and stays until surely all are in. Ours starts from no environment,
each time: at first right after the deployment, then after the environments were ended for idleness;
of these the best counts. Plain Celery with prefork: `--autoscale=64,1` from its one process, its
first burst, since later ones find processes; and 64 processes that were started beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from benchmarks.plain_celery import plain_worker
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.starts import calls_of
from benchmarks.system import FUNCTIONS, System, system
from broker.logs import FunctionLogs

SLEEPERS: Final = 64
ROUNDS: Final = 3
#: Seconds.
GOAL: Final = 1.0
_STAY: Final = 5.0
#: Celery's autoscaler needs longer: tasks that had left would be no burst.
_STAY_PLAIN: Final = 20.0
#: Until Celery's worker surely listens.
_READY: Final = 1.0
_IDLE: Final = 2.0
_GONE: Final = 5.0


def measure(data: Path) -> Iterator[Row]:
    """Measure ours, then plain Celery's two ways."""
    settings = {"BUCKETWHEEL_IDLE_TIMEOUT": str(_IDLE), "BUCKETWHEEL_MEMORY": "65536"}
    with system(data, **settings) as running:
        running.deploy(FUNCTIONS / "sleeper.py")
        first, *later = (_ours(running, number) for number in range(1 + ROUNDS))
        autoscaled = _plain(running, f"--autoscale={SLEEPERS},1")
        prefork = _plain(running, f"--concurrency={SLEEPERS}")
    yield _row("", min(later), autoscaled, f"prefork --autoscale={SLEEPERS},1")
    yield _row("", min(later), prefork, f"prefork, {SLEEPERS} processes before the burst")
    yield _row(", the first ever", first, autoscaled, f"prefork --autoscale={SLEEPERS},1")


def _row(which: str, ours: float, theirs: float, comparison: str) -> Row:
    return Row(
        what=f"burst of {SLEEPERS} sleeping invocations from zero, all running{which}",
        ours=f"{ours:.2f} s",
        comparison=f"{theirs:.2f} s plain Celery, {comparison}",
        ratio=ours / theirs,
        goal=f"≤ {GOAL:g} s",
        reached=ours <= GOAL,
    )


def _ours(running: System, number: int) -> float:
    calls = calls_of(running)
    event = orjson.dumps({"round": number, "seconds": _STAY})
    before = running.count("sleeper", "cold_starts")
    start = time.time()
    for _ in range(SLEEPERS):
        calls.enqueue("sleeper", event)
    running.wait_for("sleeper", SLEEPERS * (number + 1))
    cold = running.count("sleeper", "cold_starts") - before
    if cold != SLEEPERS:
        raise RuntimeError(f"{cold} of {SLEEPERS} started cold: the burst was not from zero")
    took = _took("ours", start, _entered(running, number), _STAY)
    time.sleep(_GONE)
    return took


def _entered(running: System, number: int) -> list[float]:
    """When the handlers of a round were entered, once all have said so."""
    end = time.monotonic() + _GONE
    while True:
        texts = [each.text for each in FunctionLogs(running.redis).read("sleeper")]
        lines = [line.split() for text in texts for line in text.splitlines()]
        found = [float(each[2]) for each in lines if each[:2] == ["ENTERED", str(number)]]
        if len(found) == SLEEPERS:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{len(found)} of {SLEEPERS} said when they were entered")
        time.sleep(0.1)


def _plain(running: System, scale: str) -> float:
    with plain_worker(running, scale) as plain:
        plain.consume()
        time.sleep(_READY)
        event = {"round": 0, "seconds": _STAY_PLAIN}
        start = time.time()
        for _ in range(SLEEPERS):
            plain.send("plain.sleeper", event)
        moments = [float(each.split()[1]) for each in plain.entered(SLEEPERS)]
        return _took(f"plain Celery {scale}", start, moments, _STAY_PLAIN)


def _took(who: str, start: float, entered: list[float], stay: float) -> float:
    if max(entered) > min(entered) + stay:
        say(f"{who}: the first had left before the last came: they never ran all at once")
    say(f"{who}: all {SLEEPERS} were running after {max(entered) - start:.2f} s")
    return max(entered) - start
