"""Dead letters in a whole system: listed, shown, retried, purged; and nothing circles for ever."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import keys
from broker.message import render
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import begun, deployed, wait_for
from tests.system.notes import NOTE, listening

FAILING = """
    @function(bucket="dead", prefix="in/", timeout=10)
    def crop(event, context):
        raise ValueError("cannot")
"""
WORKING = """
    @function(bucket="dead", prefix="in/", timeout=10)
    def crop(event, context):
        return "cropped"
"""
OTHERS = """
    import os

    @function(timeout=10, maximum_retry_attempts=2)
    def poison(event, context):
        os._exit(3)

    @function(timeout=10, reserved_concurrency=0, maximum_event_age=60)
    def paused(event, context):
        return 1

    @function(timeout=10)
    def fine(event, context):
        return 1
"""

ONE_AT_A_TIME = f"""
{NOTE}
    @function(timeout=60, reserved_concurrency=1, maximum_event_age=60)
    def single(event, context):
        stay("single")
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own: letters of other tests would be purged."""
    folder = tmp_path_factory.mktemp("dead")
    with begun(folder / "data", BUCKETWHEEL_RETRY_DELAY="0.1") as found:
        deployed(found, folder, OTHERS)
        yield found


def _letters(system: System, *arguments: str) -> list[dict[str, Any]]:
    lines = system.run("dead", "list", "--json", *arguments).splitlines()
    return [json.loads(line) for line in lines]


def test_letters_are_retried_in_bulk_once_the_function_is_mended(
    system: System, tmp_path: Path
) -> None:
    """All of them, once; interrupted or repeated, it does no harm."""
    deployed(system, tmp_path, FAILING)
    s3 = system.s3()
    for n in range(30):
        s3.upload_fileobj(io.BytesIO(b"x"), "dead", f"in/{n}")
    wait_for(system, "crop", dead=30)
    letters = _letters(system, "--function", "crop", "--newer-than", "1h")
    assert len(letters) == 30
    assert {(each["attempts"], each["fault"]["type"]) for each in letters} == {(3, "ValueError")}
    assert json.loads(system.run("status", "--json"))["dead_letters"] == 30
    assert "30 are kept" in system.run("status")
    shown = json.loads(system.run("dead", "show", letters[0]["id"]))
    assert shown["event"]["Records"][0]["s3"]["bucket"]["name"] == "dead"

    deployed(system, tmp_path, WORKING)
    done = json.loads(system.run("dead", "retry", "--reason", "valueerror", "--json"))
    again = json.loads(system.run("dead", "retry", "--reason", "valueerror", "--json"))
    assert (done["retried"], again["retried"]) == (30, 0)
    wait_for(system, "crop", succeeded=30, queued=0)
    assert not _letters(system, "--function", "crop")


def test_what_kills_its_environment_circles_no_more_than_its_retries(system: System) -> None:
    """Two retries, then a dead letter; other functions go on."""
    id = system.run("invoke", "poison", "--async").strip()
    wait_for(system, "poison", dead=1, failed=3)

    letter = json.loads(system.run("dead", "show", id))
    assert (letter["attempts"], letter["fault"]["type"]) == (3, "Runtime.ExitError")
    assert system.run("invoke", "fine").strip() == "1"


def test_a_paused_functions_events_are_given_up_when_they_are_too_old(system: System) -> None:
    """Their messages leave the queue, which nobody consumes; the clock itself cannot be set."""
    id = system.run("invoke", "paused", "--async").strip()
    then = (time.time() - 61) * 1000
    system.redis.zadd(keys.queued("paused"), {id: then})
    system.redis.hset(keys.invocation(id), "at", int(then))
    wait_for(system, "paused", dead=1, queued=0)

    assert json.loads(system.run("dead", "show", id))["fault"]["type"] == "EventAgeExceeded"
    wait_until(lambda: not system.redis.llen(keys.queue("paused")), "its message is gone")


def test_what_is_too_old_when_its_turn_comes_is_not_run(system: System, tmp_path: Path) -> None:
    """It has waited behind another, and came back into line not long ago: only its age tells."""
    with listening() as notes:
        deployed(system, tmp_path, ONE_AT_A_TIME, "--env", f"NOTES={notes.port}")
        system.run("invoke", "single", "--async")
        wait_until(lambda: notes.inside("single"), "the first is at work")
        id = system.run("invoke", "single", "--async").strip()
        system.redis.hset(keys.invocation(id), "at", int((time.time() - 61) * 1000))
        notes.gone.set()
        wait_for(system, "single", succeeded=1, dead=1)

    letter = json.loads(system.run("dead", "show", id))
    assert (letter["fault"]["type"], letter["attempts"]) == ("EventAgeExceeded", 0)
    assert notes.count("stay single") == {"stay single": 1}


def test_a_message_that_nobody_can_take_is_given_up_with_its_invocation(system: System) -> None:
    """Or the reaper would take it for lost, and replace it, again and again."""
    id = str(uuid.uuid4())
    entry: dict[Any, Any] = {"function": "fine", "event": '{"n": 1}', "state": "queued"}
    entry |= {"attempt": 0, "failures": 0, "label": "", "reply": "", "at": int(time.time() * 1000)}
    system.redis.hset(keys.invocation(id), mapping=entry)
    system.redis.zadd(keys.queued("fine"), {id: time.time() * 1000})
    broken = {**json.loads(render("fine", [id], "")), "body": "["}
    system.redis.lpush(keys.queue("fine"), json.dumps(broken))
    wait_until(lambda: system.redis.hexists(keys.DEAD, id), "it is given up")

    assert not system.redis.exists(keys.invocation(id))
    assert json.loads(system.run("dead", "show", id))["fault"]["type"] == "Undeliverable"
    assert "1 are on their way" in system.run("dead", "retry", id)
    wait_until(lambda: not system.redis.exists(keys.invocation(id)), "it has run")
    assert not system.redis.hexists(keys.DEAD, id)


def test_purging_in_bulk_needs_a_yes(system: System) -> None:
    """What a letter holds is gone then; by its id, nobody is asked."""
    system.redis.rpush(keys.EVENTS, b"junk", b"more junk")
    wait_until(lambda: len(_letters(system, "--function", keys.INTAKE)) == 2, "both are kept")
    first = _letters(system, "--function", keys.INTAKE)[0]["id"]

    refused = system.tried("dead", "purge", "--function", keys.INTAKE)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    nothing = system.tried("dead", "purge", "--yes")
    assert (nothing.returncode, "--all" in nothing.stderr) == (2, True)
    assert "1 are gone" in system.run("dead", "purge", first)
    assert "1 are gone" in system.run("dead", "purge", "--function", keys.INTAKE, "--yes")
    missing = system.tried("dead", "show", first)
    assert (missing.returncode, first in missing.stderr) == (2, True)
