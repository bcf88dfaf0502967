"""Scaling by demand: as many environments as help, and nobody starves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, KeysView
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from celery import Celery

import bucketwheel
from broker.fleets import hosts
from broker.liveness import workers_alive
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import begun, deployed, logged, status, wait_for
from tests.system.notes import NOTE, Notes, listening

CORES = os.cpu_count() or 1
#: Megabytes that this system's environments may have together: four of the smallest.
MEMORY = 4 * 128 + 64

CODE = f"""
{NOTE}
    import time

    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    @function(timeout=60)
    def fetch(event, context):
        stay("fetch")

    @function(timeout=60)
    def resize(event, context):
        note_down("in")
        work(0.3)
        note_down("out")

    @function(timeout=60)
    def quick(event, context):
        return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]

    @function(timeout=60, reserved_concurrency=2)
    def pair(event, context):
        stay("pair")

    @function(reserved_concurrency=0)
    def paused(event, context):
        pass

    @function(provisioned_concurrency=3)
    def kept(event, context):
        return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""


@dataclass(frozen=True)
class Scaled:
    """A system, and the notes of its functions."""

    system: System
    notes: Notes

    def enqueue(self, function: str, count: int) -> None:
        """Call a function so often, and wait for none."""
        for _ in range(count):
            bucketwheel.invoke(function, {}, wait=False)

    def busy(self) -> int:
        """How many `resize` are at work."""
        return self.notes.count("in")["in"] - self.notes.count("out")["out"]


@contextmanager
def _scaled(folder: Path, code: str, **settings: str) -> Iterator[Scaled]:
    with (
        listening() as notes,
        begun(folder / "data", **settings) as system,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("BUCKETWHEEL_DATA", str(system.data))
        deployed(system, folder, code, "--env", f"NOTES={notes.port}")
        yield Scaled(system, notes)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """A host with memory for many environments."""
    settings = {"BUCKETWHEEL_MEMORY": str(100 * 128)}
    with _scaled(tmp_path_factory.mktemp("large"), CODE, **settings) as found:
        yield found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """A host with memory for four environments, none of which is provisioned."""
    settings = {"BUCKETWHEEL_MEMORY": str(MEMORY), "BUCKETWHEEL_IDLE_TIMEOUT": "2"}
    code = CODE.replace("(provisioned_concurrency=3)", "()")
    with _scaled(tmp_path_factory.mktemp("small"), code, **settings) as found:
        yield found


def test_what_waits_for_others_goes_far_beyond_the_cores(large: Scaled) -> None:
    """Forty that wait for a slow server are all at work at once, from none."""
    large.notes.gone.clear()
    large.enqueue("fetch", 40)
    wait_until(lambda: large.notes.inside("fetch") == 40, "forty are at work at once")
    large.notes.gone.set()

    wait_for(large.system, "fetch", succeeded=40)


def test_what_computes_stops_where_the_cores_are_busy(large: Scaled) -> None:
    """More would only take turns; once it is known what the function does."""
    large.enqueue("resize", 2 * CORES)
    wait_for(large.system, "resize", succeeded=2 * CORES)
    large.enqueue("resize", 12 * CORES)
    most = 0

    def is_done() -> bool:
        nonlocal most
        most = max(most, large.busy())
        return large.notes.count("out")["out"] == 14 * CORES

    wait_until(is_done, "all are done")
    assert CORES <= most <= 3 * CORES


def test_a_backlog_of_one_function_does_not_hold_up_another(large: Scaled) -> None:
    """Who has nothing at work is served at once, whatever others have in line."""
    before = status(large.system, "resize")["succeeded"]
    large.enqueue("resize", 60)
    wait_until(lambda: large.busy() >= CORES, "the processors are busy")

    assert bucketwheel.invoke("quick", {}) == "on-demand"
    assert large.notes.count("out")["out"] < before + 60
    wait_for(large.system, "resize", succeeded=before + 60)


def test_reserved_concurrency_is_never_passed(large: Scaled) -> None:
    """Six are in line, two at work; who asks is told why."""
    large.notes.gone.clear()
    large.enqueue("pair", 6)
    wait_until(lambda: large.notes.inside("pair") == 2, "two are at work")
    wait_for(large.system, "pair", running=2, queued=4)
    wait_until(lambda: _limit(large, "pair") == "reserved concurrency", "it says why")
    large.notes.gone.set()
    wait_for(large.system, "pair", succeeded=6)
    assert large.notes.most("pair") == 2


def test_reserved_concurrency_holds_over_all_hosts(large: Scaled) -> None:
    """Two workers together run no more of it than are reserved."""
    large.notes.gone.clear()
    with _second_worker(large.system):
        large.enqueue("pair", 8)
        wait_until(lambda: large.notes.inside("pair") == 2, "two are at work")
        large.notes.gone.set()
        wait_for(large.system, "pair", succeeded=14)

    assert large.notes.most("pair") == 2


def test_a_paused_function_keeps_its_work(large: Scaled) -> None:
    """reserved_concurrency=0 leaves everything in line, and says so."""
    large.enqueue("paused", 3)

    row = wait_for(large.system, "paused", queued=3, running=0)
    assert row["succeeded"] == 0
    wait_until(lambda: _limit(large, "paused") == "reserved concurrency", "it says why")


def test_provisioned_environments_are_warm_before_anybody_asks(large: Scaled) -> None:
    """They are told so, and the first call is no cold start."""
    wait_for(large.system, "kept", warm=3)

    assert bucketwheel.invoke("kept", {}) == "provisioned-concurrency"
    assert "Init Duration" not in logged(large.system, "kept")
    assert status(large.system, "kept")["cold_starts"] == 0


def test_provisioned_environments_are_warm_again_after_a_restart(large: Scaled) -> None:
    """A worker that is started anew starts them before it has taken anything."""
    before = hosts(large.system.redis).keys()
    psutil.Process(large.system.instance.children["worker"]).kill()
    wait_until(lambda: _is_another(large.system, before), "another worker tells of its host")

    wait_for(large.system, "kept", warm=3)


def test_the_memory_budget_is_never_passed(small: Scaled) -> None:
    """Four environments of the smallest size fit; the others wait, and it is said why."""
    small.notes.gone.clear()
    small.enqueue("fetch", 6)
    wait_until(lambda: small.notes.inside("fetch") == 4, "four are at work")
    wait_until(lambda: _limit(small, "fetch") == "memory budget", "it says why")
    small.notes.gone.set()

    wait_for(small.system, "fetch", succeeded=6)
    assert small.notes.most("fetch") == 4
    assert status(small.system, "fetch")["throttled"] >= 1


def test_idle_environments_make_room_for_others(small: Scaled) -> None:
    """Memory that one function's idle environments have is another's at once."""
    small.notes.gone.clear()
    before = status(small.system, "fetch")["succeeded"]
    small.enqueue("fetch", 4)
    wait_until(lambda: small.notes.inside("fetch") == 4, "four are at work")
    small.notes.gone.set()
    wait_for(small.system, "fetch", succeeded=before + 4)

    assert bucketwheel.invoke("quick", {}) == "on-demand"


def test_none_is_normal(small: Scaled) -> None:
    """What is idle for too long is ended, to the last."""
    assert bucketwheel.invoke("quick", {}) == "on-demand"
    wait_until(lambda: not _warm(small.system), "nothing is warm")


def test_celerys_time_limit_ends_an_invocation(large: Scaled) -> None:
    """A client's time limit counts where it is shorter than the function's."""
    large.notes.gone.clear()
    app = Celery(broker=large.system.instance.redis_url, set_as_current=False)
    app.send_task("fetch", args=[{}], queue="function.fetch", time_limit=1)
    wait_until(lambda: "Task timed out after 1.00 seconds" in logged(large.system, "fetch"), "late")
    large.notes.gone.set()


def _is_another(system: System, before: KeysView[str]) -> bool:
    now = hosts(system.redis).keys()
    return bool(now) and now.isdisjoint(before)


def _limit(scaled: Scaled, function: str) -> str:
    found: str = status(scaled.system, function)["limit"]
    return found


def _warm(system: System) -> int:
    names: list[str] = ["fetch", "quick", "resize", "pair", "kept"]
    return sum(status(system, each)["warm"] for each in names)


@contextmanager
def _second_worker(system: System) -> Iterator[None]:
    """A worker of another name on the same servers, as on a second host."""
    settings = {"BUCKETWHEEL_DATA": str(system.data), "BUCKETWHEEL_WORKER_NAME": "second"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bucketwheel", "worker"],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _workers(system) == 2, "the second worker is alive")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _workers(system: System) -> int:
    return len(workers_alive(system.redis))
