"""Rubbish in what the parts read from each other: kept with its reason, while all goes on."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from celery import Celery

from broker import keys, message
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, deployed, logged, status, wait_for

#: No notification of any known shape.
EVENTS = {
    "nothing": b"",
    "no JSON": b"{oops",
    "no UTF-8": b"\xff\xfe\x00",
    "null": b"null",
    "a number": b"42",
    "a text": b'"text"',
    "an empty object": b"{}",
    "a list of numbers": b"[1, 2]",
    "an empty record": b'[{"Event": [{}]}]',
    "a record without object": b'{"Records": [{"eventName": "s3:ObjectCreated:Put"}]}',
    "a record with a number for a key": orjson.dumps(
        [{"Event": [{"eventName": "x", "s3": {"bucket": {"name": "b"}, "object": {"key": 1}}}]}]
    ),
    "a key that is no UTF-8": orjson.dumps(
        [{"Event": [{"eventName": "x", "s3": {"bucket": {"name": "b"}, "object": {"key": "%ff"}}}]}]
    ),
    "a size beyond measure": orjson.dumps(
        [{"Event": [{"eventName": "x", "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]}]
    ).replace(b'"k"', b'"k", "size": 1e999'),
    "depth": b"[" * 100_000,
    "length": b"x" * 2_000_000,
}


def _message(**changes: Any) -> bytes:
    """A good message with some of its parts changed; `None` takes a part away."""
    parts: dict[str, Any] = orjson.loads(message.render("steady", [uuid.uuid4().hex], "label"))
    del parts["headers"][message.INVOCATIONS]
    for name, value in changes.items():
        where, _, part = name.partition("__")
        place, key = (parts[where], part) if part else (parts, where)
        if value is None:
            del place[key.replace("_", "-") if place is parts else key]
        else:
            place[key.replace("_", "-") if place is parts else key] = value
    return orjson.dumps(parts)


def _encoded(content: bytes) -> dict[str, Any]:
    return {"body": base64.b64encode(content).decode(), "properties__body_encoding": "base64"}


#: What is in a function's queue and no message for it.
MESSAGES = {
    "nothing": b"",
    "no JSON": b"{oops",
    "no UTF-8": b"\xff\xfe",
    "null": b"null",
    "a list": b"[1, 2]",
    "an empty object": b"{}",
    "depth": b"[" * 100_000,
    "no body": _message(body=None),
    "a body that is a number": _message(body=5),
    "a body that is a list": _message(body=[]),
    "a body that is no base64": _message(body="!", properties__body_encoding="base64"),
    "a body of another encoding": _message(properties__body_encoding="rot13"),
    "a body that is no JSON": _message(**_encoded(b"{oops")),
    "a body that is an object": _message(**_encoded(b"{}")),
    "a body of one part": _message(**_encoded(b"[[]]")),
    "a body of numbers": _message(**_encoded(b"[1, 2, 3]")),
    "a body of an unknown type": _message(content_type="application/x-python-serialize"),
    "a body of no type": _message(content_type=5),
    "no headers": _message(headers=None),
    "headers that are a list": _message(headers=[]),
    "no task": _message(headers__task=None),
    "a task that is a list": _message(headers__task=[]),
    "a task that is an object": _message(headers__task={}),
    "an unknown task": _message(headers__task="nowhere"),
    "no id": _message(headers__id=None),
    "an id that is a list": _message(headers__id=[]),
    "no properties": _message(properties=None),
    "properties that are a text": _message(properties="x"),
    "no delivery tag": _message(properties__delivery_tag=None),
    "a delivery tag that is a number": _message(properties__delivery_tag=5),
    "no delivery info": _message(properties__delivery_info=None),
    "delivery info that is a list": _message(properties__delivery_info=[]),
    "a time that is none": _message(headers__eta="tomorrow"),
    "an expiry that is none": _message(headers__expires="never"),
    "a task of another protocol": orjson.dumps({"task": "steady", "id": "1", "args": []}),
    "invocations that are a number": _message(headers__invocations=5),
}

CODE = """
    import time

    @function(timeout=30)
    def steady(event, context):
        print("EVENT", event)
        return "served"
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    deployed(system, tmp_path_factory.mktemp("code"), CODE)


@pytest.fixture(autouse=True)
def _all_goes_on(system: System, call: Call, _deployed: None) -> Iterator[None]:
    """After each test the same processes serve the same function."""
    before = system.instance.children
    yield
    assert call("steady", {}, timeout=60) == "served"
    assert system.instance.children == before
    assert all(_lives(pid) for pid in before.values())


def _lives(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.mark.parametrize("what", EVENTS)
def test_a_broken_notification_becomes_a_dead_letter(system: System, what: str) -> None:
    """It is kept as it came, with its reason; the next notification is read."""
    dead = status(system, keys.INTAKE)["dead"]
    system.redis.rpush(keys.EVENTS, EVENTS[what])

    row = wait_for(system, keys.INTAKE, dead=dead + 1)
    assert "a notification" in row["last_error"]
    wait_until(lambda: not system.redis.llen(keys.EVENTS), "the list is empty")


def test_broken_notifications_do_not_hold_up_good_ones(system: System, bucket: str) -> None:
    """An upload between them runs its function."""
    system.run("status")
    dead = status(system, keys.INTAKE)["dead"]
    rubbish: Any = [b"rubbish"] * 300
    system.redis.rpush(keys.EVENTS, *rubbish)
    ours = {"name": "nobodys-bucket"}
    record = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": ours, "object": {"key": "a"}}}
    system.redis.rpush(keys.EVENTS, orjson.dumps([{"Event": [record]}]))

    wait_for(system, keys.INTAKE, dead=dead + 300)
    wait_until(lambda: not system.redis.llen(keys.EVENTS), "the list is empty")


@pytest.mark.parametrize("what", MESSAGES)
def test_a_broken_message_becomes_a_dead_letter(system: System, what: str) -> None:
    """It is kept as it came, with queue and reason; the next message is read."""
    dead = status(system, keys.WORKER)["dead"]
    system.redis.lpush(keys.queue("steady"), MESSAGES[what])

    row = wait_for(system, keys.WORKER, dead=dead + 1)
    assert "in function.steady: " in row["last_error"]


def test_dead_letters_are_shown_to_people_and_programs(system: System) -> None:
    """`status` has a row for each part that has kept something, `logs` its reasons."""
    for name, item in ((keys.EVENTS, b"rubbish one"), (keys.queue("steady"), b"rubbish two")):
        system.redis.rpush(name, item)
    wait_until(lambda: "two" in _letters(system, keys.WORKER), "the worker has kept its item")
    wait_until(lambda: "one" in _letters(system, keys.INTAKE), "the intake has kept its item")

    table = system.run("status")
    rows = {
        each["function"]: each for each in json.loads(system.run("status", "--json"))["functions"]
    }
    for part in (keys.INTAKE, keys.WORKER):
        assert rows[part]["dead"] >= 1
        assert f"last error of {part}: " in table
        assert "not JSON" in system.run("logs", part)


def _letters(system: System, part: str) -> str:
    """Contents of a part's dead letters."""
    found: Any = system.redis.hvals(keys.DEAD)
    letters = [orjson.loads(each) for each in found]
    return " ".join(each["event"] for each in letters if each["function"] == part)


def test_an_event_for_deployment_that_tells_of_no_upload_is_given_up(system: System) -> None:
    """Whoever sends tasks can send one to the platform's own function, too."""
    row = status(system, keys.DEPLOY)
    client = Celery(broker=system.instance.redis_url, set_as_current=False)
    client.send_task(keys.DEPLOY, args=[{"Records": []}], queue=keys.queue(keys.DEPLOY))
    client.close()

    found = wait_for(system, keys.DEPLOY, dead=row["dead"] + 1, running=0, retrying=0)
    assert "Deployment.NoUpload" in found["last_error"]


def test_a_celery_client_may_ask_for_a_delay(system: System) -> None:
    """Celery keeps such a message until its time; then it runs like any other."""
    done = status(system, "steady")["succeeded"]
    client = Celery(broker=system.instance.redis_url, set_as_current=False)
    client.send_task("steady", args=[{"n": "delayed"}], queue="function.steady", countdown=1)
    client.close()

    wait_for(system, "steady", succeeded=done + 1)
    assert "EVENT {'n': 'delayed'}" in logged(system, "steady")


def test_an_event_of_a_function_that_is_gone_is_no_fault(system: System) -> None:
    """A notification that matches nothing is done with."""
    dead = status(system, keys.INTAKE)["dead"]
    record = {"eventName": "s3:Unknown", "s3": {"bucket": {"name": "b"}, "object": {"key": "a"}}}
    system.redis.rpush(keys.EVENTS, orjson.dumps({"Records": [record]}))

    wait_until(lambda: not system.redis.llen(keys.EVENTS), "the list is empty")
    assert status(system, keys.INTAKE)["dead"] == dead


def test_broken_messages_hold_no_place_in_the_pool(system: System) -> None:
    """Celery counts what it has reserved: each place that is lost narrows the worker for good."""
    with Celery(broker=system.instance.redis_url, set_as_current=False) as app:
        pushed = system.redis.lpush(keys.queue("steady"), *(_message(body="[]") for _ in range(5)))
        assert pushed
        wait_until(lambda: not system.redis.llen(keys.queue("steady")), "they are taken")

        (reserved,) = wait_until(app.control.inspect(limit=1).reserved, "it answers").values()
        assert reserved == []
