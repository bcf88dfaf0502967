"""Parts that are killed while uploads go on: nothing is lost, nothing runs twice without need."""

from __future__ import annotations

import io
import os
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest
import urllib3
from minio import Minio
from minio.error import MinioException
from redis.exceptions import RedisError
from urllib3.exceptions import HTTPError

from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import begun, deployed, status
from tests.system.notes import NOTE, Notes, listening

#: Seconds for everything to be done after a fault; generous, since machines are shared.
PATIENCE = 60.0

BUCKET = "faults"
#: Invocations that run at once.
AT_ONCE = 16

CODE = f"""
{NOTE}
    import time

    @function(bucket="faults", timeout=30)
    def note(event, context):
        key = event["Records"][0]["s3"]["object"]["key"]
        note_down(key)
        if key.startswith("slow"):
            time.sleep(0.05)
"""


@dataclass(frozen=True)
class Faulty:
    """A system whose parts may be killed, and the notes of its function's runs."""

    system: System
    notes: Notes
    store: Minio

    def runs(self, prefix: str) -> Counter[str]:
        """How often the function was run for each key."""
        return self.notes.count(prefix)

    def put(self, key: str, is_back: Callable[[], bool]) -> bool:
        """Upload an object; whether the store answered that it has it."""
        try:
            self.store.put_object(BUCKET, key, io.BytesIO(b"x"), 1)
        except (MinioException, HTTPError):
            wait_until(is_back, "the store is back")
            return False
        return True

    def listens(self) -> bool:
        """Whether the store can be connected to."""
        parts = urlsplit(self.system.instance.s3_endpoint)
        with socket.socket() as connection:
            return connection.connect_ex((parts.hostname, parts.port)) == 0

    def tells(self) -> bool:
        """Whether the store answers, and tells of what is uploaded: a probe runs the function."""
        probe = f"probe/{uuid.uuid4().hex}"
        try:
            self.store.put_object(BUCKET, probe, io.BytesIO(b"x"), 1)
        except (MinioException, HTTPError):
            return False
        end = time.monotonic() + 5
        while time.monotonic() < end and not self.runs(probe):
            time.sleep(0.01)
        return bool(self.runs(probe))

    def has_redis(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self.system.redis.ping())
        except (RedisError, OSError):
            return False

    def is_done(self) -> bool:
        """Whether nothing waits or runs any more."""
        row = status(self.system, "note")
        return not (row["queued"] or row["running"] or row["retrying"])

    def child(self, part: str) -> psutil.Process:
        """A part's process, as it is now."""
        return psutil.Process(self.system.instance.children[part])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """A system of its own."""
    folder = tmp_path_factory.mktemp("faulty")
    settings = {"BUCKETWHEEL_RETRY_DELAY": "0.1", "BUCKETWHEEL_CONCURRENCY": str(AT_ONCE)}
    with listening() as notes, begun(folder / "data", **settings) as system:
        deployed(system, folder, CODE, "--env", f"NOTES={notes.port}")
        host, found = urlsplit(system.instance.s3_endpoint).netloc, system.variables
        http = urllib3.PoolManager(maxsize=8, retries=False, timeout=10)
        keys = (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"])
        store = Minio(host, *keys, secure=False, region="us-east-1", http_client=http)
        yield Faulty(system, notes, store)


@pytest.fixture
def prefix() -> str:
    """Beginning of the keys of one test: `slow` has each run take a moment."""
    return f"slow/{uuid.uuid4().hex[:6]}/"


def _upload(
    faulty: Faulty,
    keys: list[str],
    threads: int,
    then: Callable[[], None] | None = None,
    is_back: Callable[[], bool] | None = None,
) -> set[str]:
    """Upload all, do something when a third is done; returns what the store has answered for."""
    back = is_back or faulty.tells
    with ThreadPoolExecutor(threads) as pool:
        puts: list[Future[bool]] = [pool.submit(faulty.put, key, back) for key in keys]
        if then is not None:
            wait_until(lambda: sum(each.done() for each in puts) > len(keys) / 3, "a third is up")
            then()
        return {key for key, each in zip(keys, puts, strict=True) if each.result()}


def _keys(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{at:05}" for at in range(count)]


def _wait_for_all(
    faulty: Faulty, prefix: str, uploaded: set[str], patience: float = PATIENCE
) -> Counter[str]:
    """Wait until each has run and nothing is left to do; returns how often each has."""
    wait_until(
        lambda: uploaded <= faulty.runs(prefix).keys(),
        f"each of {len(uploaded)} uploads has run",
        patience,
    )
    wait_until(faulty.is_done, "nothing is left to do", PATIENCE)
    return faulty.runs(prefix)


def _again(runs: Counter[str]) -> list[str]:
    """What has run more than once."""
    return [key for key, count in runs.items() if count > 1]


def _restarted(faulty: Faulty, part: str, before: psutil.Process) -> None:
    """Wait until a part that was killed is there again."""
    wait_until(
        lambda: faulty.system.instance.children.get(part) not in (None, before.pid),
        f"{part} is restarted",
    )


def test_five_thousand_uploads_at_full_speed_run_once_each(faulty: Faulty) -> None:
    """Without a fault exactly once, by the function's own notes and by the counters."""
    done = status(faulty.system, "note")["succeeded"]
    uploaded = _upload(faulty, _keys("many/", 5_000), threads=4)

    runs = _wait_for_all(faulty, "many/", uploaded)
    row = status(faulty.system, "note")
    assert len(uploaded) == len(runs) == 5_000
    assert not _again(runs)
    assert (row["succeeded"] - done, row["failed"], row["dead"]) == (5_000, 0, 0)


def test_killing_the_worker_loses_nothing(faulty: Faulty, prefix: str) -> None:
    """What it held is run by its successor; only that may have run twice."""
    worker = faulty.child("worker")
    uploaded = _upload(faulty, _keys(prefix, 400), 2, worker.kill)
    _restarted(faulty, "worker", worker)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) == 400
    assert max(runs.values()) <= 2
    assert len(_again(runs)) <= 100  # what can run at once, and be done but not yet told


def test_killing_the_intake_loses_nothing(faulty: Faulty, prefix: str) -> None:
    """What it had taken is taken over; nothing runs twice."""
    intake = faulty.child("intake")
    uploaded = _upload(faulty, _keys(prefix, 400), 2, intake.kill)
    _restarted(faulty, "intake", intake)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) == 400
    assert not _again(runs)


def test_killing_the_zygote_loses_nothing(faulty: Faulty, prefix: str) -> None:
    """Its environments end with it: only what they had in hand is run again."""
    worker = faulty.child("worker")
    zygotes = [each for each in worker.children() if "workers.zygote_process" in each.cmdline()]
    assert len(zygotes) == 1
    uploaded = _upload(faulty, _keys(prefix, 400), 2, zygotes[0].kill)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) == 400
    assert max(runs.values()) <= 2
    assert len(_again(runs)) <= AT_ONCE
    assert faulty.child("worker").pid == worker.pid


def test_killing_the_store_loses_nothing_it_has_answered_for(faulty: Faulty, prefix: str) -> None:
    """Before its end, and once it tells of uploads again; nothing runs twice."""
    minio = faulty.child("minio")
    uploaded = _upload(faulty, _keys(prefix, 400), 2, minio.kill)
    _restarted(faulty, "minio", minio)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) > 350
    assert not _again(runs)


def test_uploads_to_a_store_that_has_just_begun_are_not_lost(faulty: Faulty, prefix: str) -> None:
    """Between the moment when it listens and the moment when it tells of uploads: a sweep finds
    them, and runs nothing twice.
    """
    minio = faulty.child("minio")
    uploaded = _upload(faulty, _keys(prefix, 400), 2, minio.kill, faulty.listens)
    _restarted(faulty, "minio", minio)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert not _again(runs)


def test_a_restart_of_redis_loses_nothing(faulty: Faulty, prefix: str) -> None:
    """Work in flight is kept in its file; uploads after its return run like those before."""
    uploaded = _upload(faulty, _keys(f"{prefix}before-", 200), 2)
    redis = faulty.child("redis")
    os.kill(redis.pid, signal.SIGTERM)
    _restarted(faulty, "redis", redis)
    wait_until(faulty.has_redis, "Redis answers")
    uploaded |= _upload(faulty, _keys(f"{prefix}after-", 200), 2)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) == 400
    assert max(runs.values()) <= 2


def test_killing_all_at_once_loses_nothing(faulty: Faulty, prefix: str) -> None:
    """Worker, intake and store in one moment: what was answered for has run."""
    parts = [faulty.child(name) for name in ("worker", "intake", "minio")]

    def kill() -> None:
        for each in parts:
            each.kill()

    uploaded = _upload(faulty, _keys(prefix, 300), 2, kill)
    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) > 250
    assert max(runs.values()) <= 2


def test_a_worker_that_is_stopped_gives_its_work_back(faulty: Faulty, prefix: str) -> None:
    """SIGTERM drains: what runs ends, what waits goes back in line; nothing runs twice."""
    worker = faulty.child("worker")
    uploaded = _upload(faulty, _keys(prefix, 300), 2, worker.terminate)
    _restarted(faulty, "worker", worker)

    runs = _wait_for_all(faulty, prefix, uploaded)
    assert len(uploaded) == 300
    assert not _again(runs)
