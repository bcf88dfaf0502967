"""Flower in the stack: who may see it, what it shows, what can be done by it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pytest

from tests.compose import browser
from tests.compose.project import Project
from tests.conftest import wait_until

pytestmark = pytest.mark.compose

CODE = """
    import time

    @function(timeout=60)
    def shown_well(event, context):
        return "well"

    @function(timeout=60, maximum_retry_attempts=0)
    def shown_failing(event, context):
        raise ValueError("no luck")

    @function(timeout=120)
    def shown_sleeping(event, context):
        time.sleep(event["seconds"])
"""


class Flower:
    """Its pages and its API, for who knows the password."""

    def __init__(self, project: Project) -> None:
        self.port = project.variables["BUCKETWHEEL_FLOWER_PORT"]
        self.login = "bucketwheel:" + project.variables["BUCKETWHEEL_FLOWER_PASSWORD"]

    def page(self, path: str) -> str:
        """The address of a page, with the login."""
        return f"http://{self.login}@127.0.0.1:{self.port}{path}"

    def ask(self, path: str, login: str | None = None, **form: object) -> Any:
        """Get JSON, or post a form."""
        data = urlencode(form).encode() if form else None
        request = Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        known = base64.b64encode((self.login if login is None else login).encode()).decode()
        request.add_header("Authorization", f"Basic {known}")
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """A function's tasks."""
        return list(self.ask(f"/api/tasks?taskname={name}").values())

    def worker(self) -> str:
        """Name of the one worker that lives."""
        (name,) = wait_until(self._alive, "a worker lives")
        return str(name)

    def pool(self) -> dict[str, Any]:
        """What the worker has last said of its pool; empty before it has."""
        name = self.worker()
        try:
            told = self.ask(f"/api/workers?refresh=true&workername={quote(name)}")
        except HTTPError as error:
            if error.code != 404:
                raise
            return {}
        return dict(told[name].get("stats", {}).get("pool", {}))

    def limit(self) -> int | None:
        """How many environments the worker may have, as it has last said."""
        return self.pool().get("max-concurrency")

    def change_pool(self, how: str, by: int) -> None:
        """Have the pool grow or shrink; Flower waits a second for the worker's word, no longer."""
        try:
            self.ask(f"/api/worker/pool/{how}/{quote(self.worker())}", n=by)
        except HTTPError as error:
            if error.code != 403 or b"Unknown reason" not in error.read():
                raise

    def _alive(self) -> list[str]:
        found = self.ask("/api/workers?refresh=true&status=true")
        return [each for each, lives in found.items() if lives]


@pytest.fixture(scope="module")
def flower(project: Project) -> Flower:
    """With three functions to be seen, which have run."""
    project.deploy(CODE)
    project.bucketwheel("invoke", "shown_well", "--payload", "{}")
    project.bucketwheel("invoke", "shown_failing", "--payload", "{}", "--async")
    return Flower(project)


@pytest.fixture(scope="module")
def pictures() -> Path:
    """Where screenshots are kept, to be looked at."""
    folder = Path(__file__).parents[2] / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_nobody_gets_in_without_the_password(flower: Flower) -> None:
    """Neither to look nor to stop a worker."""
    for login in ("", "bucketwheel:wrong", "admin:admin"):
        for path in ("/workers", "/api/workers", "/broker"):
            with pytest.raises(HTTPError) as caught:
                flower.ask(path, login)
            assert caught.value.code == 401


def test_a_function_is_a_task_by_its_own_name(flower: Flower) -> None:
    """With its runtime, its state, and what it raised."""
    wait_until(
        lambda: [each["state"] for each in flower.tasks("shown_well")] == ["SUCCESS"], "it is shown"
    )
    wait_until(
        lambda: [each["state"] for each in flower.tasks("shown_failing")] == ["FAILURE"],
        "the failure is shown",
    )
    (well,), (failed,) = flower.tasks("shown_well"), flower.tasks("shown_failing")
    assert well["runtime"] > 0
    assert "ValueError: no luck" in failed["exception"]
    assert "in shown_failing" in failed["traceback"]


def test_the_worker_says_what_its_pool_holds(flower: Flower) -> None:
    """Each function's environments."""
    wait_until(lambda: "shown_well" in json.dumps(flower.pool()), "it is told")

    assert flower.pool()["implementation"].endswith("EnvironmentPool")


def test_the_pool_grows_and_shrinks(flower: Flower) -> None:
    """By as much as is asked, while the worker runs."""
    usual = wait_until(flower.limit, "the limit is told")

    flower.change_pool("shrink", 10)
    wait_until(lambda: flower.limit() == usual - 10, "it has shrunk")
    flower.change_pool("grow", 10)
    wait_until(lambda: flower.limit() == usual, "it has grown")


def test_revoking_ends_one_invocation(project: Project, flower: Flower) -> None:
    """The one that was named, at once."""
    command = ("invoke", "shown_sleeping", "--async", "--payload")
    doomed = project.bucketwheel(*command, '{"seconds": 100}').strip()
    wait_until(lambda: project.status("shown_sleeping")["running"] == 1, "it runs")

    flower.ask(f"/api/task/revoke/{doomed}", terminate="true", signal="SIGKILL")

    wait_until(lambda: project.status("shown_sleeping")["running"] == 0, "it has ended")
    assert project.status("shown_sleeping")["succeeded"] == 0
    wait_until(
        lambda: [each["state"] for each in flower.tasks("shown_sleeping")] == ["REVOKED"],
        "Flower shows it",
    )


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("workers", "/workers", ("bucketwheel@", ">Online</span>")),
        (
            "tasks",
            "/tasks",
            ("shown_well", "shown_failing", ">SUCCESS</span>", ">FAILURE</span>"),
        ),
        ("broker", "/broker", ("function.shown_well",)),
    ],
)
def test_a_page_shows_it(
    flower: Flower, pictures: Path, name: str, path: str, words: tuple[str, ...]
) -> None:
    """In a browser."""
    url = flower.page(path)
    wait_until(lambda: _shows(url, words), f"{path} shows {words}")

    browser.picture_of(url, pictures / f"{name}.png")


def _shows(url: str, words: tuple[str, ...]) -> bool:
    shown = browser.text_of(url)
    return all(each in shown for each in words)


def test_the_workers_page_shows_environments_and_limits(flower: Flower, pictures: Path) -> None:
    """On its first tab, the pool's."""
    url = flower.page(f"/worker/{quote(flower.worker())}")
    wait_until(lambda: _shows(url, ("EnvironmentPool", "shown_well")), "it shows both")

    browser.picture_of(url, pictures / "worker.png")


def test_a_failed_tasks_page_shows_why(flower: Flower, pictures: Path) -> None:
    """The error and where it was raised."""
    (failed,) = flower.tasks("shown_failing")
    url = flower.page(f"/task/{failed['uuid']}")
    browser.picture_of(url, pictures / "task.png")

    assert "ValueError: no luck" in browser.text_of(url)
