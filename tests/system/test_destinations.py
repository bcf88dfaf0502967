"""Destinations in a whole system: each end is told, also when deliverers are killed in between."""

from __future__ import annotations

import io
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from broker.keys import outbox
from bucketwheel.testing import System
from tests.conftest import serving, wait_until
from tests.system.conftest import begun, deployed

CODE = """
    @function(bucket="ends", prefix="in/", timeout=10, maximum_retry_attempts=1,
              on_success="redis:done", on_failure="{url}")
    def crop(event, context):
        key = event["Records"][0]["s3"]["object"]["key"]
        if key.endswith("bad"):
            raise ValueError(key)
        return {{"cropped": key}}

    @function(timeout=10, on_success="function:second")
    def first(event, context):
        return "first"

    @function(timeout=10, on_success="s3://ends/reports", writes="ends/other/")
    def second(event, context):
        return event["requestContext"]["condition"]
"""


@dataclass
class _Posts:
    """What was posted, to an address that refuses every third time."""

    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0


class _Handler(BaseHTTPRequestHandler):
    posts: _Posts

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.posts.asked += 1
        refuse = self.posts.asked % 3 == 0
        if not refuse:
            self.posts.records.append(json.loads(content))
        self.send_response(503 if refuse else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def posts() -> Iterator[_Posts]:
    """An address on loopback."""
    posts = _Posts()
    handler = type("Handler", (_Handler,), {"posts": posts})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    posts.url = f"http://127.0.0.1:{server.server_port}/ends"
    with serving(server):
        yield posts


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, posts: _Posts) -> Iterator[System]:
    """A system of its own, whose intake may be killed."""
    folder = tmp_path_factory.mktemp("told")
    settings = {"BUCKETWHEEL_RETRY_DELAY": "0.1", "BUCKETWHEEL_DESTINATION_DELAY": "0.1"}
    with begun(folder / "data", **settings) as system:
        deployed(system, folder, CODE.format(url=posts.url))
        yield system


def _records(system: System, name: str) -> list[dict[str, Any]]:
    found: Any = system.redis.lrange(name, 0, -1)
    return [json.loads(each) for each in found]


def _keys(records: list[dict[str, Any]]) -> Counter[str]:
    payloads = [each["requestPayload"] for each in records]
    return Counter(each["Records"][0]["s3"]["object"]["key"] for each in payloads)


def test_each_end_is_told_though_deliverers_are_killed(told: System, posts: _Posts) -> None:
    """A list has each once; an address has each, and is asked again when it refuses."""
    s3 = told.s3()
    keys = [f"in/{n:03}{'bad' if n % 2 else ''}" for n in range(60)]
    for n, key in enumerate(keys):
        s3.upload_fileobj(io.BytesIO(b"x"), "ends", key)
        if n in (20, 40):
            pid = told.instance.children["intake"]
            psutil.Process(pid).kill()
            wait_until(
                lambda pid=pid: told.instance.children.get("intake") not in (None, pid),  # type: ignore[misc]
                "the intake is restarted",
            )
    good, bad = [key for key in keys if "bad" not in key], [key for key in keys if "bad" in key]
    wait_until(lambda: set(_keys(_records(told, "done"))) >= set(good), "successes are told")
    wait_until(lambda: set(_keys(posts.records)) >= set(bad), "failures are told")
    wait_until(lambda: not told.redis.exists(outbox("crop")), "nothing waits any more")

    assert _keys(_records(told, "done")) == Counter(good)
    assert set(_keys(posts.records)) == set(bad)
    contexts = [each["requestContext"] for each in posts.records]
    assert {each["condition"] for each in contexts} == {"RetriesExhausted"}
    assert all(each["approximateInvokeCount"] >= 2 for each in contexts)
    assert posts.records[0]["responsePayload"]["errorType"] == "ValueError"
    status = json.loads(told.run("status", "--json"))
    row = next(each for each in status["functions"] if each["function"] == "crop")
    assert (row["dead"], row["destination_failures"], status["dead_letters"]) == (0, 0, 0)


def test_a_chain_of_functions_ends_in_an_object(told: System) -> None:
    """The second's event is the first's record, and its own record lies in the bucket."""
    id = told.run("invoke", "first", "--payload", '{"n": 1}', "--async").strip()
    s3 = told.s3()

    def found() -> list[str]:
        listed = s3.list_objects_v2(Bucket="ends", Prefix="reports/")
        return [each["Key"] for each in listed.get("Contents", [])]

    (key,) = wait_until(found, "the record is written")
    record = json.loads(s3.get_object(Bucket="ends", Key=key)["Body"].read())
    assert record["responsePayload"] == "Success"
    assert record["requestPayload"]["requestContext"]["requestId"] == id
    assert record["requestPayload"]["requestPayload"] == {"n": 1}
    assert key.endswith(f"/{record['requestContext']['requestId']}.json")


def test_a_call_that_somebody_waits_for_is_not_told(told: System) -> None:
    """Its caller has the response."""
    before = json.loads(told.run("status", "--json"))
    assert told.run("invoke", "first").strip() == '"first"'
    after = json.loads(told.run("status", "--json"))

    def done(status: dict[str, Any]) -> Any:
        return next(e["succeeded"] for e in status["functions"] if e["function"] == "second")

    assert (done(after), after["records_waiting"]) == (done(before), 0)


def test_functions_are_listed_with_their_destinations(told: System, posts: _Posts) -> None:
    """As they were declared."""
    listed = {each["name"]: each for each in json.loads(told.run("functions", "--json"))}

    assert listed["crop"]["on_failure"] == posts.url
    assert listed["first"]["on_success"] == "function:second"
    assert listed["second"]["maximum_event_age"] == 21_600


def test_a_record_that_nobody_takes_can_be_retried(told: System) -> None:
    """Once the destination is mended: the function is not run again, its record is sent again."""
    name = f"list-{uuid.uuid4().hex[:8]}"
    told.redis.set(name, "no list")
    id = "undeliverable"
    record = json.dumps({"timestamp": "2026-01-01T00:00:00.000Z", "requestContext": {}})
    outgoing: dict[Any, Any] = {"function": "first", "destination": f"redis:{name}"}
    outgoing |= {"record": record, "tries": 11, "at": 1}
    told.redis.hset(f"bucketwheel:outgoing:{id}", mapping=outgoing)
    told.redis.sadd("bucketwheel:outboxes", "first")
    told.redis.zadd("bucketwheel:outbox:first", {id: 1})
    wait_until(lambda: told.redis.hexists("bucketwheel:dead", id), "it is given up")
    told.redis.delete(name)

    assert "1 are on their way" in told.run("dead", "retry", "--reason", "DestinationDelivery")
    wait_until(lambda: told.redis.llen(name) == 1, "the record is there")
