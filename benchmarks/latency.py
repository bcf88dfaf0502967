"""From the answer to a PUT until the handler is entered, warm, at half load.

Half load is half the rate that uploader and system together sustained on this machine in a
calibrating run, each side its own; uploads come at random (a Poisson process with a fixed seed). Of
the rounds, the one with the lowest p99 counts.
The uploader notes the time when the PUT's answer is there, the handler when it is entered: the same
clock. MinIO answers after its event is in Redis, so a handler may be entered before the answer is
read. Plain Celery: the uploader calls `send_task` once the PUT is answered.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

from benchmarks import uploads
from benchmarks.plain_celery import EVENT, PlainCelery, plain_worker
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.system import FUNCTIONS, System, system
from broker.logs import FunctionLogs

CALIBRATION: Final = 1_500
SAMPLES: Final = 600
ROUNDS: Final = 3
#: Milliseconds.
GOAL_P50: Final = 5.0
GOAL_P99: Final = 25.0
_BODY: Final = b"x" * 64
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Latency:
    """Milliseconds, and the rate they were measured at."""

    p50: float
    p99: float
    rate: float


def measure(data: Path) -> Iterator[Row]:
    """Measure our way and plain Celery's."""
    with system(data) as running, plain_worker(running) as plain:
        running.deploy(FUNCTIONS / "noop.py")
        running.s3().create_bucket(Bucket="plain")
        ours = _measured(running, _Ours(running))
        theirs = _measured(running, _Plain(plain))
    yield _row("p50", ours.p50, theirs.p50, ours.rate, theirs.rate, GOAL_P50)
    yield _row("p99", ours.p99, theirs.p99, ours.rate, theirs.rate, GOAL_P99)


def _row(
    name: str, ours: float, theirs: float, our_rate: float, their_rate: float, goal: float
) -> Row:
    return Row(
        what=f"PUT answered → handler entered, warm, half load, {name}",
        ours=f"{ours:.1f} ms at {our_rate:.0f}/s",
        comparison=f"{theirs:.1f} ms at {their_rate:.0f}/s, PUT and plain Celery",
        ratio=ours / theirs,
        goal=f"≤ {goal:g} ms",
        reached=ours <= goal,
    )


@dataclass(slots=True)
class _Ours:
    """Our way: the upload is all there is to do."""

    running: System
    bucket: str = "latency"
    then: Callable[[str], object] | None = None
    done: int = 0

    def entered(self, count: int) -> dict[str, float]:
        """When the handler was entered, by key, once that many more have succeeded."""
        self.done += count
        self.running.wait_for("entered", self.done, _PATIENCE)
        texts = [each.text for each in FunctionLogs(self.running.redis).read("entered")]
        lines = [line.split() for text in texts for line in text.splitlines()]
        return {line[1]: float(line[2]) for line in lines if line[0] == "ENTERED"}


class _Plain:
    """Plain Celery: the uploader sends the task."""

    bucket = "plain"

    def __init__(self, plain: PlainCelery) -> None:
        self._plain = plain
        self.then = lambda key: plain.send("plain.entered", key, EVENT)
        plain.consume()

    def entered(self, count: int) -> dict[str, float]:
        """When the task was entered, by key, once that many more have said it."""
        pairs = (each.split() for each in self._plain.entered(count))
        return {key: float(at) for key, at in pairs}


def _measured(running: System, way: _Ours | _Plain) -> _Latency:
    """Warm it, calibrate, then measure."""
    _upload(running, way, "warm", 200)
    rates = [_calibrated(running, way, number) for number in range(2)]
    rate = max(rates) / 2
    rounds = [_round(running, way, rate, number) for number in range(ROUNDS)]
    return min(rounds, key=lambda each: each.p99)


def _calibrated(running: System, way: _Ours | _Plain, number: int) -> float:
    """Uploads a second, when they come as fast as they can."""
    start = time.time()
    _upload(running, way, f"calibrating-{number}", CALIBRATION)
    return CALIBRATION / (time.time() - start)


def _round(running: System, way: _Ours | _Plain, rate: float, number: int) -> _Latency:
    answered, entered = _upload(running, way, f"sample-{number}", SAMPLES, rate)
    milliseconds = [1000 * (entered[key] - at) for key, at in answered.items()]
    hundredths = statistics.quantiles(milliseconds, n=100)
    found = _Latency(p50=hundredths[49], p99=hundredths[98], rate=rate)
    say(f"{way.bucket} at {rate:.0f}/s: p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms")
    return found


def _upload(
    running: System, way: _Ours | _Plain, name: str, count: int, rate: float | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Upload, at a rate if one is given; when each key was answered, and when entered."""
    keys = [f"in/{name}-{number:05}" for number in range(count)]
    prepared = uploads.prepare(running, way.bucket, keys, _BODY)
    moments = [0.0] * count if rate is None else _moments(count, rate)
    answered = uploads.put_at(prepared, moments, then=way.then)
    return answered, way.entered(count)


def _moments(count: int, rate: float) -> list[float]:
    """Arrivals of a Poisson process, the same in each run."""
    chance = random.Random(12)
    return list(accumulate(chance.expovariate(rate) for _ in range(count)))
