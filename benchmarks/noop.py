"""No-op invocations a second through the whole path, against plain Celery's no-ops.

Ours: real uploads lie in Redis as MinIO's events, the intake paused; from the intake's going on to
the last success in the ledger. Plain Celery: as many messages with an event of the same size laid
by `send_task`; from the worker's beginning to take them until the last was given to a process.
Both warm, in turns, on the same Redis; of each, the best round counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import uploads
from benchmarks.plain_celery import EVENT, PlainCelery, plain_worker
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.system import FUNCTIONS, System, system

EVENTS: Final = 3_000
ROUNDS: Final = 3
GOAL: Final = 1.0
_BODY: Final = b"x" * 64


def measure(data: Path) -> Iterator[Row]:
    """Measure no-ops."""
    with system(data) as running, plain_worker(running) as plain:
        running.deploy(FUNCTIONS / "noop.py")
        _ours(running, 200)
        _plain(plain, 200)
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(_ours(running, EVENTS))
            theirs.append(_plain(plain, EVENTS))
            say(f"round {number + 1}: {ours[-1]:,.0f}/s, plain Celery {theirs[-1]:,.0f}/s")
    yield _row(max(ours), max(theirs))


def _row(ours: float, theirs: float) -> Row:
    return Row(
        what="no-ops, whole path, under a backlog",
        ours=f"{ours:,.0f}/s",
        comparison=f"{theirs:,.0f}/s plain Celery, prefork",
        ratio=ours / theirs,
        goal="≥ 1.0, then ≥ 2",
        reached=ours / theirs >= GOAL,
    )


def _ours(running: System, events: int) -> float:
    keys = [f"in/{number:05}" for number in range(events)]
    backlog = uploads.prepare(running, "noop", keys, _BODY)
    before = running.count("noop")
    with running.paused_intake():
        uploads.put_all(backlog)
        start = time.perf_counter()
    running.wait_for("noop", before + events)
    return events / (time.perf_counter() - start)


def _plain(plain: PlainCelery, messages: int) -> float:
    plain.pause()
    for _ in range(messages):
        plain.send("plain.noop", EVENT)
    start = time.perf_counter()
    plain.consume()
    plain.wait_until_empty()
    return messages / (time.perf_counter() - start)
