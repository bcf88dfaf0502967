"""What health checks ask, and who may use Flower."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import begun, stopped

PASSWORD = "open-sesame"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own, whose parts may stand still and whose Flower has a password."""
    folder = tmp_path_factory.mktemp("alive") / "data"
    with begun(folder, BUCKETWHEEL_FLOWER_PASSWORD=PASSWORD) as system:
        yield system


def _flower(system: System, path: str, login: str = "") -> int:
    """Status of Flower's answer to somebody."""
    request = Request(f"{system.instance.flower_url}{path}")
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.mark.parametrize("part", ["intake", "worker", "flower"])
def test_a_part_at_work_is_alive(own: System, part: str) -> None:
    """With status 0, as health checks want it."""
    done = wait_until(
        lambda: (found := own.tried("alive", part)).returncode == 0 and found, f"{part} is at work"
    )
    assert (done.stdout, done.stderr) == (f"{part} is at work\n", "")


@pytest.mark.parametrize("part", ["intake", "worker", "flower"])
def test_a_part_that_stands_still_is_not_alive(own: System, part: str) -> None:
    """Though its process is there; and is again, once it goes on."""
    with stopped(own, part):
        dead = wait_until(
            lambda: (done := own.tried("alive", part)).returncode and done, f"{part} is missed"
        )
        assert (dead.returncode, dead.stdout) == (1, "")
        assert dead.stderr == f"{part} is not at work on this host\n"
    wait_until(lambda: own.tried("alive", part).returncode == 0, f"{part} is back")


def test_another_hosts_worker_is_not_this_ones(own: System) -> None:
    """Each host's health check is about its own."""
    done = own.tried("alive", "worker", BUCKETWHEEL_WORKER_NAME="elsewhere")

    assert done.returncode == 1


@pytest.mark.parametrize("path", ["/", "/workers", "/api/workers", "/api/tasks", "/tasks"])
def test_flower_with_a_password_lets_nobody_else_in(own: System, path: str) -> None:
    """Neither to its pages nor to its API, which stops workers."""
    assert _flower(own, path) == 401
    assert _flower(own, path, "bucketwheel:wrong-sesame") == 401
    assert _flower(own, path, f"bucketwheel:{PASSWORD}") == 200
