"""A second worker of ours beside the system's own, whose CPU bar can be lifted.

A sweep over fixed concurrencies must not be held up by what is on trial: the worker's own view of
the processors. This worker is the ordinary one; all it has more is a control command, `cpu_bar`.
The system's own worker stands still meanwhile: its limit is 0, as `pool_shrink` makes it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celery import Celery
from celery.worker.control import control_command

from benchmarks.plain_celery import ended
from benchmarks.system import System
from workers import scaling

NAME: Final = "second"
_DESTINATION: Final = [f"bucketwheel@{NAME}"]
#: What a worker may have at work when nothing is fixed: the setting's own default.
FREE: Final = 1_000
#: Seconds after which a worker that stands still asks Redis for nothing more.
_STILL: Final = 2.5
_PATIENCE: Final = 60.0
_ORDINARY: Final = scaling.RUNNABLE


@control_command(args=[("bars", int)])  # type: ignore[untyped-decorator]
def cpu_bar(state: Any, bars: int) -> dict[str, bool]:
    """Have busy processors keep functions from growing, or not."""
    scaling.RUNNABLE = _ORDINARY if bars else math.inf  # type: ignore[misc]
    return {"ok": True}


@dataclass(frozen=True, slots=True)
class SecondWorker:
    """The only worker that takes anything."""

    app: Celery

    def scale_freely(self) -> None:
        """Have it decide by itself."""
        self._command("cpu_bar", bars=1)
        self._limit(FREE)

    def fix(self, environments: int) -> None:
        """Hold it to so many environments at work, whatever the processors say."""
        self._command("cpu_bar", bars=0)
        self._limit(environments)

    def _limit(self, environments: int) -> None:
        more = environments - _limit_of(self.app, _DESTINATION)
        if more:
            self._command("pool_grow" if more > 0 else "pool_shrink", n=abs(more))

    def _command(self, name: str, **arguments: int) -> None:
        _command(self.app, name, _DESTINATION, **arguments)


@contextmanager
def second_worker(system: System, folder: Path) -> Iterator[SecondWorker]:
    """Start it on a folder of its own, have the system's own stand still, and end it.

    Deploy before: the system's own worker takes nothing any more.
    """
    with Celery(broker=system.instance.redis_url, set_as_current=False) as app:
        (first,) = (name for each in app.control.ping(timeout=2.0, limit=1) for name in each)
        command = [sys.executable, "-m", "benchmarks.second_worker"]
        process = subprocess.Popen(
            command,
            env=_variables(system, folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with ended(process):
            _wait_for(app)
            _command(app, "pool_shrink", [first], n=_limit_of(app, [first]))
            time.sleep(_STILL)
            yield SecondWorker(app)


def _variables(system: System, folder: Path) -> dict[str, str]:
    own = {
        "BUCKETWHEEL_DATA": str(folder),
        "BUCKETWHEEL_WORKER_NAME": NAME,
        "BUCKETWHEEL_CONCURRENCY": str(FREE),
        # The sum of memory sizes is not what is on trial here.
        "BUCKETWHEEL_MEMORY": str(128 * FREE),
        # Less than what is waited for its end.
        "BUCKETWHEEL_DRAIN_TIMEOUT": "5",
    }
    return {**os.environ, **system.instance.settings(), **own}


def _wait_for(app: Celery) -> None:
    end = time.monotonic() + _PATIENCE
    while not app.control.ping(destination=_DESTINATION, timeout=1.0, limit=1):
        if time.monotonic() > end:
            raise TimeoutError("the second worker does not start")


def _limit_of(app: Celery, destination: list[str]) -> int:
    (stats,) = app.control.inspect(destination, timeout=10.0, limit=1).stats().values()
    return int(stats["pool"]["max-concurrency"])


def _command(app: Celery, name: str, destination: list[str], **arguments: int) -> None:
    found = app.control.broadcast(
        name, arguments, destination=destination, reply=True, timeout=10.0, limit=1
    )
    if not found or "ok" not in next(iter(found[0].values())):
        raise RuntimeError(f"{destination[0]} answers {found} to {name}")


def main() -> None:
    """Be that worker."""
    from bucketwheel.parts.worker import run

    run()


if __name__ == "__main__":
    main()
