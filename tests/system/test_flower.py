"""What Celery's own tools see and do: Flower's pages, inspect, revoke, the pool's size."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import pytest
from celery import Celery

from bucketwheel import FunctionError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, deployed, wait_for

CODE = """
    import time

    @function(timeout=30)
    def seen_well(event, context):
        return "well"

    @function(timeout=30)
    def seen_failing(event, context):
        raise ValueError("no luck")

    @function(timeout=60)
    def NAME(event, context):
        time.sleep(event["seconds"])

    @function(timeout=60, name="NAME-too")
    def sleep_too(event, context):
        time.sleep(event["seconds"])
"""

#: What the table of tasks asks Flower for.
TABLE = {
    "draw": 1,
    "start": 0,
    "length": 1_000,
    "search[value]": "",
    "order[0][column]": 0,
    "order[0][dir]": "desc",
    "columns[0][data]": "received",
}


@pytest.fixture(scope="module", autouse=True)
def sleeper(system: System, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a function that sleeps for as long as it is told."""
    name = f"sleep_{uuid.uuid4().hex[:6]}"
    deployed(system, tmp_path_factory.mktemp("code"), CODE.replace("NAME", name))
    return name


@pytest.fixture
def celery(system: System) -> Iterator[Celery]:
    """A plain Celery client of the same broker."""
    with Celery(broker=system.instance.redis_url, set_as_current=False) as app:
        yield app


def _page(system: System, path: str) -> str:
    with urlopen(f"{system.instance.flower_url}{path}") as answer:
        return str(answer.read().decode())


def _tasks(system: System, name: str) -> list[dict[str, Any]]:
    """Flower's tasks of one function."""
    with urlopen(
        f"{system.instance.flower_url}/tasks/datatable", urlencode(TABLE).encode()
    ) as answer:
        found = json.load(answer)["data"]
    return [each for each in found if each["name"] == name]


def _states(system: System, name: str) -> dict[str, str]:
    """Flower's states of one function's tasks, by their ids."""
    return {each["uuid"]: each["state"] for each in _tasks(system, name)}


def _worker(system: System) -> str:
    (found,) = json.loads(_page(system, "/workers?json=1"))["data"]
    return str(found["hostname"])


def _inspect(celery: Celery) -> Any:
    """Asks the one worker, and waits for no other."""
    return celery.control.inspect(limit=1)


def _stats(celery: Celery) -> dict[str, Any]:
    """What the one worker says of its pool."""
    (found,) = wait_until(_inspect(celery).stats, "the worker answers").values()
    return dict(found["pool"])


def _wait_until_active(celery: Celery, id: str) -> None:
    wait_until(lambda: id in str(_inspect(celery).active()), f"{id} is active")


@contextmanager
def _size(celery: Celery, size: int) -> Iterator[int]:
    """While this lasts, the pool runs at most so many at once; gives its usual size."""
    usual = _stats(celery)["max-concurrency"]
    celery.control.pool_shrink(n=usual - size, reply=True)
    try:
        assert _stats(celery)["max-concurrency"] == size
        yield usual
    finally:
        celery.control.pool_grow(n=usual - size, reply=True)


def test_a_function_is_a_task_by_its_own_name(system: System, call: Call) -> None:
    """With its state; and where it failed, with what it raised."""
    call("seen_well", {})
    with pytest.raises(FunctionError):
        call("seen_failing", {})

    wait_until(
        lambda: list(_states(system, "seen_well").values()) == ["SUCCESS"],
        "Flower shows the success",
    )
    wait_until(
        lambda: list(_states(system, "seen_failing").values()) == ["FAILURE"],
        "Flower shows the failure",
    )
    (failed,) = _tasks(system, "seen_failing")
    assert "ValueError: no luck" in failed["exception"]
    assert "in seen_failing" in failed["traceback"]
    assert failed["worker"] == _worker(system)
    assert "ValueError: no luck" in _page(system, f"/task/{failed['uuid']}")


def test_the_last_of_a_burst_is_shown_without_waiting_for_more(
    system: System, call: Call, celery: Celery
) -> None:
    """Task events are published several at a time; none stays with a worker that goes on."""
    before = len(_tasks(system, "seen_well"))
    for _ in range(20):
        call("seen_well", {})
    celery.control.broadcast("ping")  # the worker's loop goes round, and no event is sent

    wait_until(
        lambda: list(_states(system, "seen_well").values()) == ["SUCCESS"] * (before + 20),
        "Flower shows that all have succeeded",
    )


def test_an_upload_is_a_task_with_its_object_for_arguments(
    system: System, tmp_path_factory: pytest.TempPathFactory, bucket: str
) -> None:
    """Who looks for a photo finds it by bucket and key."""
    code = f"@function(name='{bucket}', bucket='{bucket}')\ndef f(event, context): ...\n"
    deployed(system, tmp_path_factory.mktemp("code"), code)
    system.s3().put_object(Bucket=bucket, Key="in/a photo.jpg", Body=b"x")

    wait_for(system, bucket, succeeded=1)
    (found,) = wait_until(lambda: _tasks(system, bucket), "Flower shows it")
    assert found["args"] == f"{bucket}/in/a photo.jpg"


def test_the_worker_is_shown_with_its_environments(system: System, call: Call) -> None:
    """Flower's page of the worker names our pool, and each function's environments."""
    call("seen_well", {})

    def is_shown() -> bool:
        try:
            page = _page(system, f"/worker/{_worker(system)}")
        except HTTPError:  # Flower gives a worker one second to answer
            return False
        return "EnvironmentPool" in page and "seen_well" in page

    wait_until(is_shown, "Flower shows the pool with the function's environment")
    for path in ("/", "/workers", "/tasks", "/broker"):
        assert "Flower" in _page(system, path)


def test_the_api_is_closed(system: System) -> None:
    """It could end tasks, and any page in a browser on this machine could call it."""
    for path in ("/api/workers", "/api/tasks"):
        with pytest.raises(HTTPError, match="401"):
            _page(system, path)


def test_the_worker_tells_of_itself(
    system: System, call: Call, celery: Celery, sleeper: str
) -> None:
    """`inspect stats` has the pool and its environments, `inspect active` what runs."""
    id = call(sleeper, {"seconds": 50}, wait=False)
    wait_for(system, sleeper, running=1)

    _wait_until_active(celery, id)
    stats = _stats(celery)
    assert stats["implementation"] == "workers.pool:EnvironmentPool"
    assert stats["environments"][sleeper]["busy"] == 1
    assert len(stats["processes"]) >= 1
    celery.control.revoke(id, terminate=True)
    wait_for(system, sleeper, running=0)


def test_revoking_a_running_task_ends_it_alone(
    system: System, call: Call, celery: Celery, sleeper: str
) -> None:
    """`revoke(terminate=True)`: that invocation is given up, not tried again; its like go on."""
    before = wait_for(system, sleeper, running=0, queued=0)
    doomed = call(sleeper, {"seconds": 55}, wait=False)
    spared = call(sleeper, {"seconds": 10}, wait=False)
    for id in (spared, doomed):
        _wait_until_active(celery, id)

    celery.control.revoke(doomed, terminate=True)

    row = wait_for(
        system,
        sleeper,
        succeeded=before["succeeded"] + 1,
        dead=before["dead"] + 1,
        failed=before["failed"] + 1,
        queued=0,
        running=0,
        retrying=0,
    )
    assert row["last_error"] == "Terminated: the task was revoked"
    wait_until(
        lambda: {(spared, "SUCCESS"), (doomed, "REVOKED")} <= _states(system, sleeper).items(),
        "Flower shows both ends",
    )


def test_revoking_a_waiting_task_gives_it_up(
    system: System, call: Call, celery: Celery, sleeper: str
) -> None:
    """What is revoked before its turn is given up, too, and leaves nothing in line."""
    name = f"{sleeper}-too"
    with _size(celery, 1):
        call(name, {"seconds": 8}, wait=False)
        wait_for(system, name, running=1)
        doomed = call(name, {"seconds": 0}, wait=False)
        celery.control.revoke(doomed)
        wait_until(lambda: doomed in str(_inspect(celery).revoked()), "the worker knows")
        wait_for(system, name, succeeded=1)

    wait_for(system, name, 10, dead=1, queued=0, running=0)


def test_the_pools_size_is_changed_while_it_works(
    system: System, call: Call, celery: Celery, sleeper: str
) -> None:
    """`pool_shrink` and `pool_grow` set how many invocations run at once on this host."""
    before = wait_for(system, sleeper, running=0, queued=0)
    with _size(celery, 1) as usual:
        for seconds in (8, 0, 0):  # what waits in a worker's hands is told once a second
            call(sleeper, {"seconds": seconds}, wait=False)
        wait_for(system, sleeper, running=1, queued=2)

    assert _stats(celery)["max-concurrency"] == usual
    wait_for(system, sleeper, succeeded=before["succeeded"] + 3, running=0)


def test_what_ends_while_the_worker_drains_is_shown_with_its_end(
    system: System, call: Call, celery: Celery, sleeper: str
) -> None:
    """The last events of a worker that stops are published, too."""
    id = call(sleeper, {"seconds": 8}, wait=False)
    _wait_until_active(celery, id)

    worker = psutil.Process(system.instance.children["worker"])
    worker.terminate()
    worker.wait(60)

    wait_until(lambda: _states(system, sleeper).get(id) == "SUCCESS", "Flower shows the end")
    wait_until(lambda: system.instance.children["worker"] != worker.pid, "another worker starts")
    wait_until(_inspect(celery).stats, "it answers")
