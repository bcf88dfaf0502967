"""The maximum event age: what nobody waits for is given up once it is too old, wherever it is."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from broker import keys
from broker.invocation import Invocation
from broker.ledger import Claim, Ledger
from broker.message import render
from broker.publication import NewInvocation, Publication, Publisher
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration

AGE = 60


@pytest.fixture
def reaper(redis: Redis) -> Reaper:
    found = Reaper(redis)
    found.use({"crop": configuration()})
    return found


def configuration(**values: Any) -> FunctionConfiguration:
    """A function that gives events up after a minute."""
    fixed: dict[str, Any] = {"name": "crop", "handler": "app.crop", "code_sha256": "0" * 64}
    now = datetime.now(UTC)
    return FunctionConfiguration(**fixed, deployed_at=now, maximum_event_age=AGE, **values)


def _publish(redis: Redis, broker: BrokerSettings, seconds: float, reply: bool = False) -> str:
    """An invocation that has entered so many seconds ago: the clock itself cannot be set."""
    id = str(uuid.uuid4())
    publication = Publication([NewInvocation(id, "crop", b'{"a": 1}', "x")], reply=reply)
    Publisher(redis, broker).publish(publication, b"")
    then = int((time.time() - seconds) * 1000)
    redis.hset(keys.invocation(id), "at", then)
    redis.zadd(keys.queued("crop"), {id: then})
    return id


def _letter(redis: Redis, id: str) -> dict[str, Any]:
    found: Any = redis.hget(keys.DEAD, id)
    letter: dict[str, Any] = json.loads(found)
    return letter


def test_what_waits_for_too_long_is_given_up(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Also in the queue of a paused function, whose messages nobody takes."""
    old, young = _publish(redis, broker, AGE + 5), _publish(redis, broker, AGE - 20)
    reaper.give_up_old()

    assert _letter(redis, old)["fault"]["type"] == "EventAgeExceeded"
    assert not redis.exists(keys.invocation(old))
    assert redis.exists(keys.invocation(young))
    assert redis.zrange(keys.queued("crop"), 0, -1) == [young.encode()]
    assert redis.llen(keys.queue("crop")) == 1


def test_a_foreign_message_stays_in_a_queue_that_is_pruned(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """What a plain Celery client has sent is in no ledger before a worker takes it."""
    foreign = json.loads(render("crop", ["task"], ""))
    del foreign["headers"]["invocations"]
    redis.rpush(keys.queue("crop"), json.dumps(foreign), b"no JSON")
    _publish(redis, broker, AGE + 5)
    reaper.give_up_old()

    assert redis.llen(keys.queue("crop")) == 3
    assert not redis.zcard(keys.queued("crop"))


def test_what_somebody_waits_for_does_not_age(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Only asynchronous events do, as with AWS; the caller has a timeout of his own."""
    id = _publish(redis, broker, AGE + 5, reply=True)
    reaper.give_up_old()

    assert redis.exists(keys.invocation(id))


def test_what_somebody_waited_for_is_not_kept_for_ever(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """A paused function is asked for a response: the caller has gone, his call must go as well."""
    id = _publish(redis, broker, 21_700, reply=True)
    reaper.give_up_old()

    assert not redis.exists(keys.invocation(id))
    assert redis.llen(keys.reply(id)) == 1


def test_a_retry_that_falls_due_too_late_is_given_up(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """It is not queued any more."""
    id = _publish(redis, broker, AGE + 5)
    redis.delete(keys.queue("crop"), keys.queued("crop"))
    redis.hset(keys.invocation(id), mapping={"state": "delayed", "attempt": 2})
    redis.zadd(keys.DELAYED, {id: 1})
    reaper.retry_due()

    assert _letter(redis, id)["attempts"] == 2
    assert not redis.llen(keys.queue("crop"))
    assert not redis.zcard(keys.DELAYED)


def test_a_worker_is_told_how_old_an_invocation_is(redis: Redis, broker: BrokerSettings) -> None:
    """By Redis's clock, which all hosts share."""
    id = _publish(redis, broker, 100)
    redis.set(keys.worker_alive("w1"), "1")
    _, begun = Ledger(redis, "w1", broker).exchange([], [Claim(id, "crop")])

    assert isinstance(begun[0], Invocation)
    assert 99 < begun[0].age < 160


def test_a_function_that_is_gone_lets_its_events_age_by_the_default(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Its queue is consumed by nobody: without, they would sit there for ever."""
    reaper.use({})
    old, young = _publish(redis, broker, 21_700), _publish(redis, broker, AGE + 5)
    reaper.give_up_old()

    assert _letter(redis, old)["fault"]["type"] == "EventAgeExceeded"
    assert redis.exists(keys.invocation(young))


def test_an_upload_of_code_never_is_too_old(redis: Redis, broker: BrokerSettings) -> None:
    """However long no worker was there: it is deployed when there is one."""
    id = str(uuid.uuid4())
    Publisher(redis, broker).publish(Publication([NewInvocation(id, keys.DEPLOY, b"{}")]), b"")
    redis.hset(keys.invocation(id), "at", 1)
    redis.zadd(keys.queued(keys.DEPLOY), {id: 1})
    reaper = Reaper(redis)
    reaper.use({})
    reaper.give_up_old()

    assert redis.exists(keys.invocation(id))


def test_a_failure_destination_gets_what_is_too_old(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Instead of the dead letters; nothing has run, so that there is no response to tell."""
    reaper.use({"crop": configuration(on_failure="redis:lost")})
    id = _publish(redis, broker, AGE + 5)
    reaper.give_up_old()

    assert not redis.hexists(keys.DEAD, id)
    found: Any = redis.hget(keys.outgoing(id), "record")
    record = json.loads(found)
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert record["requestPayload"] == {"a": 1}
    assert "responsePayload" not in record
