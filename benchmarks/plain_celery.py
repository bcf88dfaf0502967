"""Plain Celery, as its manual sets it up: what the same work costs without us.

Run by `plain_worker` below on the same Redis (in a database of its own), with prefork, as many
processes as the machine has cores unless told otherwise, task events on, Celery's defaults
otherwise. No Flower listens
to it, while one listens to us: the comparison is the harder one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from celery import Celery
from redis import Redis

from benchmarks.functions.work import kinds
from benchmarks.system import System, undisturbed

CORES: Final = os.cpu_count() or 1
_CORES: Final = (f"--concurrency={CORES}",)
QUEUE: Final = "plain"
ENTERED: Final = "plain:entered"
DONE: Final = "plain:done"
_BROKER: Final = "BENCHMARKS_BROKER"
_PATIENCE: Final = 60.0

#: A bucket's event as a function of ours gets it, about 1 kB.
EVENT: Final[dict[str, Any]] = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "bucketwheel-user"},
            "requestParameters": {
                "principalId": "bucketwheel-user",
                "region": "us-east-1",
                "sourceIPAddress": "127.0.0.1",
            },
            "responseElements": {
                "x-amz-id-2": "dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8",
                "x-amz-request-id": "18A2F0C9E5B1D3A7",
                "x-minio-deployment-id": "5f2a9c1e-7d34-4b8e-9a60-2f1c8e5d7b93",
                "x-minio-origin-endpoint": "http://127.0.0.1:9000",
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "bucketwheel",
                "bucket": {
                    "name": "noop",
                    "ownerIdentity": {"principalId": "bucketwheel-user"},
                    "arn": "arn:aws:s3:::noop",
                },
                "object": {
                    "key": "in/00000",
                    "size": 64,
                    "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                    "sequencer": "18A2F0C9E5B1D3A7",
                },
            },
        }
    ]
}

app = Celery("benchmarks", broker=os.environ.get(_BROKER), set_as_current=False)
app.conf.task_default_queue = QUEUE
app.conf.broker_connection_retry_on_startup = True


@app.task(name="plain.noop", ignore_result=True)  # type: ignore[untyped-decorator]
def noop(event: dict[str, Any]) -> None:
    """Do nothing."""


@app.task(name="plain.entered", ignore_result=True)  # type: ignore[untyped-decorator]
def entered(key: str, event: dict[str, Any]) -> None:
    """Say when it was entered."""
    now = time.time()
    _redis().rpush(ENTERED, f"{key} {now}")


@app.task(name="plain.sleeper", ignore_result=True)  # type: ignore[untyped-decorator]
def sleeper(event: dict[str, Any]) -> None:
    """Say when it was entered, then stay for a while."""
    _redis().rpush(ENTERED, f"{event['round']} {time.time()}")
    time.sleep(event["seconds"])
    _redis().incr(DONE)


@app.task(name="plain.work", ignore_result=True)  # type: ignore[untyped-decorator]
def work(function: str, event: dict[str, Any]) -> None:
    """What the function of this name does."""
    _WORK[function](event)
    _redis().incr(DONE)


_WORK: Final = {
    "computing": kinds.compute,
    "waiting": kinds.wait,
    "alternating": kinds.alternate,
}


@dataclass(frozen=True, slots=True)
class PlainCelery:
    """A worker that runs, and takes nothing before it is told to."""

    #: The app of who sends: one for each worker, since an app keeps its connections.
    sender: Celery
    redis: Redis

    def send(self, task: str, *arguments: Any) -> None:
        """Send a task."""
        self.sender.send_task(task, arguments, queue=QUEUE, ignore_result=True)

    def consume(self) -> None:
        """Have the worker take messages."""
        self.sender.control.add_consumer(QUEUE)

    def pause(self) -> None:
        """Have it take no more; returns when it does."""
        replies = self.sender.control.cancel_consumer(QUEUE, reply=True, timeout=10, limit=1)
        if not replies:
            raise TimeoutError("plain Celery's worker does not answer")

    def wait_until_empty(self) -> None:
        """Wait until every message was given to a process: all but the last few have run."""
        end = time.monotonic() + _PATIENCE
        while self.redis.exists(QUEUE, "unacked"):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.redis.llen(QUEUE)} messages after {_PATIENCE:g} s")
            time.sleep(0.01)

    def entered(self, count: int) -> list[str]:
        """What so many tasks said when they were entered, once all have."""
        end = time.monotonic() + _PATIENCE
        while self.redis.llen(ENTERED) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"not {count} tasks after {_PATIENCE:g} s")
            time.sleep(0.01)
        found: Any = self.redis.lpop(ENTERED, count)
        return [each.decode() for each in found]

    def wait_for_done(self, count: int) -> None:
        """Wait until so many tasks have said that they are done, and forget them."""
        end = time.monotonic() + _PATIENCE
        while int(cast(Any, self.redis.get(DONE)) or 0) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"not {count} tasks done after {_PATIENCE:g} s")
            time.sleep(0.01)
        self.redis.delete(DONE)


@contextmanager
def plain_worker(system: System, *scale: str) -> Iterator[PlainCelery]:
    """Start a worker, and end it; `scale` is how many processes, in Celery's options."""
    broker = system.instance.redis_url.rsplit("/", 1)[0] + "/1"
    os.environ[_BROKER] = broker
    sender = Celery("benchmarks", broker=broker, set_as_current=False)
    with (
        _running("worker", *(scale or _CORES), "--task-events", "--queues=nothing"),
        Redis.from_url(broker, socket_timeout=10) as redis,
        sender,
    ):
        _wait_for_worker(sender)
        yield PlainCelery(sender, redis)


@contextmanager
def _running(*command: str) -> Iterator[None]:
    """A Celery program in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "celery", "-A", __name__, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with ended(process):
        yield


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process that leads its group, whatever happens."""
    try:
        yield
    finally:
        with undisturbed():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait_for_worker(sender: Celery) -> None:
    end = time.monotonic() + _PATIENCE
    while not sender.control.ping(timeout=1.0, limit=1):
        if time.monotonic() > end:
            raise TimeoutError("plain Celery's worker does not start")


@lru_cache
def _redis() -> Redis:
    """Used by tasks only, that is after the fork: each process has its own."""
    return Redis.from_url(os.environ[_BROKER])
