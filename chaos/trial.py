"""One trial: bring a system up, break it under load, wait until all is done, and account for it."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from broker.counters import overview
from broker.watch_state import WatchState
from bucketwheel.testing import System, running
from chaos.account import Account, account
from chaos.faults import Fault, Kind
from chaos.runs import MODULE, Runs, listening
from chaos.schedule import Schedule
from chaos.second_host import second_host
from chaos.small_disk import small_disk
from chaos.uploads import Uploads, uploading
from chaos.world import World

#: Seconds for everything to be done after the last fault: a sweep may have to find what was lost.
PATIENCE: Final = 150.0
#: Both hosts: a retry after a function's failure comes soon; so many environments at once.
SETTINGS: Final = {"BUCKETWHEEL_RETRY_DELAY": "0.1", "BUCKETWHEEL_CONCURRENCY": "16"}
#: Where logs are kept of a system that has not kept its promise.
LOGS: Final = Path("chaos-logs")


class NoFault(Exception):
    """Raised when nothing was tried."""


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    kinds: Sequence[Kind]
    seconds: float
    seed: int
    #: Uploads per second.
    rate: float = 50.0
    #: Have events wait on a disk that is soon full; only root can.
    has_small_disk: bool = False


@dataclass(frozen=True)
class Result:
    """What came of it."""

    account: Account
    uploads: Uploads
    runs: Runs
    faults: list[Fault]
    #: Lost invocations, the most that one sweep has found.
    swept: int


def run(trial: Trial, tell: Callable[[str], None]) -> Result:
    """Run it; nothing of it is left, whatever happens. `tell` gets a line for each step.

    Raises:
        StartError: a system does not start, or does not stop.
        NoFault: the time was too short for any: nothing was tried.
    """
    with _folder() as place, listening() as runs, _system(trial, place) as system:
        module = place / "note.py"
        module.write_text(MODULE)
        system.run("deploy", str(module), "--env", f"RUNS={runs.port}")
        with second_host(system, place / "second", SETTINGS) as host:
            schedule = Schedule(World(system, host, random.Random(trial.seed)), tell)
            try:
                uploads = _break(schedule, trial)
                tell(f"{len(uploads.answered)} uploads; waiting for all to be done")
                swept = _wait_for_all(system, uploads, runs)
            finally:
                schedule.stop()
        if not schedule.faults:
            raise NoFault("no fault has happened: give it more time")
        measured = {each.name for each in trial.kinds if each.is_measured}
        found = account(uploads, runs, schedule.faults, measured)
        if not found.is_good:
            _keep_logs(place)
            tell(f"what all processes logged is kept in {LOGS}")
    return Result(found, uploads, runs, schedule.faults, swept)


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="bucketwheel-chaos-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _system(trial: Trial, place: Path) -> Iterator[System]:
    queue = place / "data" / "events"
    settings = SETTINGS | ({"BUCKETWHEEL_EVENT_QUEUE": "true"} if trial.has_small_disk else {})
    with (
        small_disk(queue) if trial.has_small_disk else nullcontext(),
        running(place / "data", System.tell, **settings) as system,
    ):
        yield system


def _break(schedule: Schedule, trial: Trial) -> Uploads:
    """Faults under load; at the end all is whole again, and the load has gone on a little."""
    world = schedule.world
    schedule.heal()
    with uploading(world.system, trial.rate, trial.seed) as uploads:
        world.over.wait(2.0)
        schedule.run(trial.kinds, trial.seconds)
        schedule.heal()
        world.over.wait(2.0)
    return uploads


def _wait_for_all(system: System, uploads: Uploads, runs: Runs) -> int:
    """Until each upload has run to its end and nothing is left to do, or patience is.

    Returns the most that one sweep has found.
    """
    end, swept = time.monotonic() + PATIENCE, 0
    waiting = set(uploads.answered)
    while time.monotonic() < end:
        waiting = {key for key in waiting if not any(run.ended for run in runs.of(key))}
        row, watch = overview(system.redis, ["note"])[0], WatchState.read(system.redis)
        swept = max(swept, watch.found if watch else 0)
        is_at_work = row.queued or row.running or row.retrying or (watch and watch.pending)
        if not waiting and not is_at_work:
            break
        time.sleep(0.2)
    return swept


def _keep_logs(place: Path) -> None:
    shutil.rmtree(LOGS, ignore_errors=True)
    shutil.copytree(place / "data" / "logs", LOGS / "first")
    (LOGS / "second").mkdir()
    for log in (place / "second").glob("*.log"):
        shutil.copy(log, LOGS / "second")
