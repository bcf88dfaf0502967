"""The memory of what has been handled: bounded, and as long as a sweep may ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from broker import keys
from broker.memory import REMEMBERED, Memory
from broker.publication import NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings


def _now(redis: Redis) -> datetime:
    found: Any = redis.time()
    return datetime.fromtimestamp(found[0], UTC)


def _slot(settings: BrokerSettings, moment: datetime) -> int:
    return int(moment.timestamp() // settings.duplicate_window)


def test_what_was_published_is_known(redis: Redis, broker: BrokerSettings) -> None:
    """Whether lately, or hours ago."""
    memory, now = Memory(redis, broker), _now(redis)
    Publisher(redis, broker).publish(Publication([NewInvocation("new", "crop", b"{}")]), b"")
    redis.sadd(keys.seen(_slot(broker, now - timedelta(hours=5))), "old")

    sets = memory.sets(now - timedelta(hours=5))
    assert memory.unknown(["new", "old", "other"], sets) == {"other"}
    assert memory.unknown(["new", "old"], memory.sets(now)) == {"old"}
    assert memory.recent() == 1


def test_what_no_sweep_asks_for_is_forgotten(redis: Redis, broker: BrokerSettings) -> None:
    """Sets before the watermark go; those that events look into stay in any case."""
    memory, now = Memory(redis, broker), _now(redis)
    old = [_slot(broker, now - timedelta(hours=n)) for n in range(5)]
    for slot in old:
        redis.sadd(keys.seen(slot), "x")
    redis.sadd(keys.seen(_slot(broker, now) - 1), "x")

    begun = now - timedelta(hours=6)
    remembered = memory.forget(begun, now - timedelta(hours=2))
    assert [redis.exists(keys.seen(slot)) for slot in old] == [1, 1, 1, 0, 0]
    assert now - timedelta(hours=3) < remembered < now - timedelta(hours=2)
    assert memory.forget(remembered, now + timedelta(days=1)) > remembered
    assert [redis.exists(keys.seen(slot)) for slot in old] == [1, 0, 0, 0, 0]
    assert redis.exists(keys.seen(_slot(broker, now) - 1))


def test_without_a_watch_the_memory_expires(redis: Redis, broker: BrokerSettings) -> None:
    """After a week at most, whoever has published."""
    Publisher(redis, broker).publish(Publication([NewInvocation("new", "crop", b"{}")]), b"")
    [known] = redis.keys(keys.seen(0)[:-1] + "*")
    assert 0 < redis.ttl(known) <= REMEMBERED
