"""Cold start: from just before an invocation is queued until its handler is entered.

A function that tells when it was entered, under many names, each invoked once while it has no
environment: once after its deployment, when its credentials are made as well ("the first ever"),
and once after its environment was ended for idleness ("later"). Medians. Right after that the same
invocation warm. The comparison is a fresh interpreter that imports the same, from before it is
started until its code is reached.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.starts import calls_of, entered, fresh
from benchmarks.system import FUNCTIONS, System, system
from broker.calls import Calls

#: As many as functions/cold.py and functions/cold_boto3.py declare.
SAMPLES: Final = 20
#: Milliseconds; and the part of a fresh interpreter's time.
GOAL: Final = 20.0
GOAL_PART: Final = 0.1
#: Seconds until an idle environment is ended, and until it has surely gone.
_IDLE: Final = 2.0
_GONE: Final = 5.0
_TELL: Final = "import time; print(time.time())"
_BOTO3: Final = "import boto3; boto3.client('s3', region_name='us-east-1'); "


@dataclass(frozen=True, slots=True)
class _Starts:
    """Milliseconds, medians."""

    first: float
    later: float
    warm: float


def measure(data: Path) -> Iterator[Row]:
    """Measure plain Python, then with boto3."""
    settings = {"BUCKETWHEEL_IDLE_TIMEOUT": str(_IDLE), "BUCKETWHEEL_CONCURRENCY": "64"}
    with system(data, **settings) as running:
        for source in ("cold.py", "cold_boto3.py"):
            running.deploy(FUNCTIONS / source)
        calls = calls_of(running)
        plain = _starts(running, calls, "cold")
        with_boto3 = _starts(running, calls, "cold-boto3")
    bare, bare_boto3 = (fresh([sys.executable, "-c", each]) for each in (_TELL, _BOTO3 + _TELL))
    yield _row("cold start, Python", plain.later, bare)
    yield _row("cold start, Python, the first ever", plain.first, bare)
    yield _part("cold start, Python with boto3", with_boto3.later, bare_boto3)
    yield _part("cold start, Python with boto3, the first ever", with_boto3.first, bare_boto3)
    yield _row("no cold start: the same, warm", plain.warm, bare)


def _row(what: str, ours: float, theirs: float) -> Row:
    """Held against the goal in milliseconds."""
    comparison, goal = f"{theirs:.0f} ms python -c", f"≤ {GOAL:g} ms"
    return Row(what, f"{ours:.1f} ms", comparison, ours / theirs, goal, ours <= GOAL)


def _part(what: str, ours: float, theirs: float) -> Row:
    """Held against a part of the fresh interpreter's time."""
    comparison, ratio = f"{theirs:.0f} ms python -c, the same imports", ours / theirs
    return Row(what, f"{ours:.1f} ms", comparison, ratio, f"< {GOAL_PART:g}", ratio < GOAL_PART)


def _starts(running: System, calls: Calls, name: str) -> _Starts:
    functions = [f"{name}-{number:02}" for number in range(SAMPLES)]
    first = [entered(calls, each) for each in functions]
    time.sleep(_GONE)
    later, warm = [], []
    for each in functions:
        later.append(entered(calls, each))
        warm.append(entered(calls, each))
    cold = sum(running.count(each, "cold_starts") for each in functions)
    if cold != 2 * SAMPLES:
        raise RuntimeError(f"{cold} cold starts of {name} were counted, not {2 * SAMPLES}")
    found = _Starts(*(1000 * statistics.median(each) for each in (first, later, warm)))
    say(f"{name}: first {found.first:.1f}, later {found.later:.1f}, warm {found.warm:.1f} ms")
    return found
