"""The intake: events become invocations, once, whatever dies in between."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis import Redis

from broker import keys
from broker.functions import DeployedFunctions
from broker.intake import Intake
from broker.message import delivered
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads
from storage.errors import StoreUnavailable
from tests.conftest import wait_until


def _function(name: str, bucket: str, prefix: str = "") -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name,
        handler="app.handler",
        triggers=(Trigger(bucket=bucket, prefix=prefix),),
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )


class _Store:
    """Functions as the store has them, and whether it answers."""

    def __init__(self, *functions: FunctionConfiguration) -> None:
        self.functions = {each.name: each for each in functions}
        self.away = False

    def read(self) -> Mapping[str, FunctionConfiguration]:
        if self.away:
            raise StoreUnavailable("listing functions: the object store said: no")
        return self.functions


@pytest.fixture
def store() -> _Store:
    return _Store(_function("crop", "photos", "in/"), _function("count", "photos", "in/"))


def _intake(broker: BrokerSettings, store: _Store) -> Intake:
    return Intake(broker, store.read, uploads("bucketwheel"), "us-east-1")


def _notification(key: str, event: str = "s3:ObjectCreated:Put", sequencer: str = "A1") -> bytes:
    stored = {"key": key.replace("/", "%2F"), "size": 3, "eTag": "e", "sequencer": sequencer}
    s3 = {"bucket": {"name": "photos"}, "object": stored}
    return orjson.dumps([{"Event": [{"eventName": event, "s3": s3}], "EventTime": "now"}])


def _queued(redis: Redis, function: str) -> list[str]:
    messages: Any = redis.lrange(keys.queue(function), 0, -1)
    return [id for each in messages for id in delivered(each)]


def test_an_event_becomes_an_invocation_of_each_function_it_matches(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Each function has its own queue, its own ledger entry, and AWS's event."""
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"), _notification("out/a.jpg"))

    assert _intake(broker, store).run_once() == 2
    [crop], [count] = _queued(redis, "crop"), _queued(redis, "count")
    event = orjson.loads(redis.hget(keys.invocation(crop), "event") or b"")
    assert event["Records"][0]["s3"]["object"]["key"] == "in/a.jpg"
    assert crop != count
    assert not redis.llen(keys.EVENTS)


def test_an_event_that_is_told_again_is_dropped(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Ids derive from the event: a replay is the same invocation."""
    intake = _intake(broker, store)
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"))
    assert intake.run_once() == 2
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"))

    assert intake.run_once() == 0
    assert len(_queued(redis, "crop")) == 1


def test_a_second_write_of_a_key_is_another_event(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Writes of one key differ by their sequencer."""
    redis.rpush(keys.EVENTS, _notification("in/a", sequencer="A1"))
    redis.rpush(keys.EVENTS, _notification("in/a", sequencer="A2"))

    assert _intake(broker, store).run_once() == 4


def test_what_an_intake_had_taken_is_published_once_by_another(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """An intake that dies between taking and publishing loses nothing."""
    redis.sadd(keys.INTAKES, "dead")
    redis.rpush(keys.inflight("dead"), _notification("in/a.jpg"))

    assert _intake(broker, store).run_once() == 2
    assert len(_queued(redis, "crop")) == 1


def test_an_intake_that_was_taken_over_publishes_nothing(
    redis: Redis, broker: BrokerSettings, store: _Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that only slept must not publish what another has published meanwhile."""
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"))
    sleeper = _intake(broker, store)
    taken = sleeper._take_events()
    redis.delete(keys.intake_alive(sleeper.id))
    assert _intake(broker, store).run_once() == 2

    sleeper._read_functions()
    assert sleeper._publish(taken) == -1
    assert len(_queued(redis, "crop")) == 1


def test_events_after_a_deployment_are_matched_with_the_new_functions(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """A publication by functions that have changed is refused, and made again."""
    intake = _intake(broker, store)
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"))
    intake.run_once()
    added = _function("third", "photos", "in/")
    store.functions["third"] = added
    DeployedFunctions(redis).add([added])
    redis.rpush(keys.EVENTS, _notification("in/b.jpg"))

    assert intake.run_once() == 3


def test_a_broken_notification_is_kept_with_its_reason_and_the_rest_goes_on(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Nothing is dropped silently, and one bad event holds nothing up."""
    redis.rpush(keys.EVENTS, b"{", _notification("in/a.jpg"), b"\xff", b'{"Records": 3}')

    assert _intake(broker, store).run_once() == 2
    letters: Any = redis.hvals(keys.DEAD)
    assert len(letters) == 3
    assert all(orjson.loads(each)["fault"]["message"] for each in letters)


def test_events_wait_while_the_store_is_away(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Without the functions nothing can be matched: what was taken stays in flight."""
    store.away = True
    intake = _intake(broker, store)
    redis.rpush(keys.EVENTS, _notification("in/a.jpg"))
    with pytest.raises(StoreUnavailable):
        intake.run_once()
    store.away = False

    assert intake.run_once() == 2


def test_many_intakes_side_by_side_publish_each_event_once(
    redis: Redis, broker: BrokerSettings, store: _Store
) -> None:
    """Whoever takes an event has it alone."""
    redis.rpush(keys.EVENTS, *(_notification(f"in/{n}") for n in range(500)))
    intakes = [_intake(broker.model_copy(update={"event_batch": 7}), store) for _ in range(3)]
    threads = [threading.Thread(target=each.start) for each in intakes]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(_queued(redis, "crop")) >= 500, "all events are published")
    finally:
        for each in intakes:
            each.stop()
        for thread in threads:
            thread.join()

    assert len(set(_queued(redis, "crop"))) == len(_queued(redis, "crop")) == 500


def test_stopping_twice_and_before_the_start_is_safe(broker: BrokerSettings) -> None:
    """Whoever stops need not know what was started."""
    intake = _intake(broker, _Store())
    intake.stop()
    intake.stop()
    intake.start()
