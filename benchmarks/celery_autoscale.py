"""Celery's stock `--autoscale=64,1` with prefork beside our autoscaler, on four kinds of work.

The same handlers as tasks. Both start from rest with the first round; of the rounds, the best
counts, when either has scaled as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.plain_celery import plain_worker
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.system import FUNCTIONS, system
from benchmarks.work import ALL, Work, ours, plain

ROUNDS: Final = 3
MOST: Final = 64
GOAL: Final = 1.0


def measure(data: Path) -> Iterator[Row]:
    """Measure each kind of work, ours and plain Celery's in turns."""
    with system(data, BUCKETWHEEL_MEMORY="65536") as running:
        running.deploy(FUNCTIONS / "work")
        with plain_worker(running, f"--autoscale={MOST},1") as celery:
            celery.consume()
            for work in ALL:
                found: list[tuple[float, float]] = []
                for number in range(ROUNDS):
                    mine = ours(running, work, work.count)
                    theirs = plain(celery, work, work.count)
                    say(f"{work.name}, round {number + 1}: {mine:.1f}/s, Celery {theirs:.1f}/s")
                    found.append((mine, theirs))
                yield _row(work, max(each for each, _ in found), max(each for _, each in found))


def _row(work: Work, mine: float, theirs: float) -> Row:
    return Row(
        what=f"autoscaler beside Celery's, {work.name} work",
        ours=f"{mine:.1f}/s",
        comparison=f"{theirs:.1f}/s plain Celery, prefork --autoscale={MOST},1",
        ratio=mine / theirs,
        goal=f"≥ {GOAL:g}",
        reached=mine / theirs >= GOAL,
    )
