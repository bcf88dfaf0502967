"""Cold starts from a snapshot and without: one environment more, to handler entered.

Python alone, with boto3 and a client, and with boto3, numpy and Pillow; each beside a fresh
interpreter that imports the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.starts import fresh, one_more
from benchmarks.system import FUNCTIONS, System, system

#: Milliseconds where nothing is imported; parts of a fresh interpreter's time where much is.
GOAL_PLAIN: Final = 20.0
GOAL: Final = 0.1
GOAL_WITHOUT: Final = 1.0
_TELL: Final = "import time; print(time.time())"
_BOTO3: Final = "import boto3; boto3.client('s3', region_name='us-east-1'); "


@dataclass(frozen=True, slots=True)
class _Kind:
    """A function, and what a fresh interpreter runs for the same."""

    function: str
    name: str
    code: str


_PLAIN: Final = _Kind("plain", "Python", _TELL)
_WITH_BOTO3: Final = _Kind("boto3", "Python with boto3", _BOTO3 + _TELL)
_LARGE: Final = _Kind(
    "large", "Python with boto3, numpy and Pillow", f"{_BOTO3}import numpy, PIL.Image; {_TELL}"
)


def measure(data: Path) -> Iterator[Row]:
    """Measure each, with a snapshot and without."""
    with system(data, BUCKETWHEEL_MEMORY="65536") as running:
        for kind in (_PLAIN, _WITH_BOTO3, _LARGE):
            running.deploy(FUNCTIONS / f"stay_{kind.function}.py")
            yield from _rows(running, kind)


def _rows(running: System, kind: _Kind) -> Iterator[Row]:
    without = one_more(running, kind.function)
    snapshot = one_more(running, f"{kind.function}-snapshot")
    bare = fresh([sys.executable, "-c", kind.code])
    say(f"{kind.name}: {snapshot:.1f} ms from a snapshot, {without:.1f} without, {bare:.0f} fresh")
    from_snapshot = f"cold start from a snapshot, {kind.name}"
    if kind is _PLAIN:
        yield _row(from_snapshot, snapshot, bare)
    else:
        yield _part(from_snapshot, snapshot, bare, GOAL)
        yield _part(f"cold start without a snapshot, {kind.name}", without, bare, GOAL_WITHOUT)


def _row(what: str, ours: float, theirs: float) -> Row:
    """Held against the goal in milliseconds."""
    comparison, goal = f"{theirs:.0f} ms python -c", f"≤ {GOAL_PLAIN:g} ms"
    return Row(what, f"{ours:.1f} ms", comparison, ours / theirs, goal, ours <= GOAL_PLAIN)


def _part(what: str, ours: float, theirs: float, goal: float) -> Row:
    """Held against a part of the fresh interpreter's time."""
    comparison, ratio = f"{theirs:.0f} ms python -c, the same imports", ours / theirs
    return Row(what, f"{ours:.1f} ms", comparison, ratio, f"< {goal:g}", ratio < goal)
