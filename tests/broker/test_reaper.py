"""The reaper: whatever a dead process or a lost message held comes back, once."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from redis import Redis

from broker import keys
from broker.ledger import Claim, Ledger
from broker.message import delivered
from broker.publication import NewInvocation, Publication, Publisher
from broker.reaper import PATIENCE, WORKERS_LOST, Reaper
from broker.settings import BrokerSettings


@pytest.fixture
def reaper(redis: Redis) -> Reaper:
    return Reaper(redis)


def _publish(redis: Redis, broker: BrokerSettings) -> str:
    id = str(uuid.uuid4())
    Publisher(redis, broker).publish(Publication([NewInvocation(id, "crop", b"{}", "x")]), b"")
    return id


def _age(redis: Redis, id: str, milliseconds: int) -> None:
    """Make a queued invocation as old as asked: the clock itself cannot be set."""
    redis.zadd(keys.queued("crop"), {id: time.time() * 1000 - milliseconds})


def _messages(redis: Redis) -> list[str]:
    found: Any = redis.lrange(keys.queue("crop"), 0, -1)
    return [id for each in found for id in delivered(each)]


def test_what_a_dead_worker_held_is_queued_again(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """A worker is dead when its liveness key has expired; nothing else is asked."""
    id = _publish(redis, broker)
    redis.delete(keys.queue("crop"))
    redis.sadd(keys.WORKERS, "w1")
    redis.set(keys.worker_alive("w1"), "1")
    Ledger(redis, "w1", broker).exchange([], [Claim(id, "crop")])

    assert reaper.bury_workers() == 0
    redis.delete(keys.worker_alive("w1"))
    assert reaper.bury_workers() == 1
    assert _messages(redis) == [id]
    assert redis.hget(keys.invocation(id), "state") == b"queued"
    assert not redis.sismember(keys.WORKERS, "w1")


def test_what_a_dead_worker_held_is_the_next_in_line(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """It has waited already: a backlog must not hold it up, and is not taken for lost."""
    held = _publish(redis, broker)
    redis.delete(keys.queue("crop"))
    redis.sadd(keys.WORKERS, "w1")
    Ledger(redis, "w1", broker).exchange([], [Claim(held, "crop")])
    waiting = [_publish(redis, broker) for _ in range(3)]
    for id in waiting:
        _age(redis, id, 2 * PATIENCE)
    redis.hset(keys.invocation(held), "at", int(time.time() * 1000) - 3 * PATIENCE)

    assert reaper.bury_workers() == 1
    assert _messages(redis)[-1] == held
    assert reaper.replace_lost_messages() == 0


def test_what_its_workers_do_not_survive_is_given_up(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """An invocation that ends its worker each time must not keep everybody from working."""
    id = _publish(redis, broker)
    for n in range(WORKERS_LOST):
        assert redis.hget(keys.invocation(id), "state") == b"queued"
        worker = f"w{n}"
        redis.sadd(keys.WORKERS, worker)
        redis.set(keys.worker_alive(worker), "1")
        Ledger(redis, worker, broker).exchange([], [Claim(id, "crop")])
        redis.delete(keys.worker_alive(worker))
        reaper.bury_workers()

    assert not redis.exists(keys.invocation(id))
    letter: Any = redis.hget(keys.DEAD, id)
    assert b"Runtime.WorkerLost" in letter


def test_a_lost_message_is_replaced_when_its_queue_is_empty(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Celery pops a message before it protects it: a kill in between loses it."""
    id = _publish(redis, broker)
    redis.delete(keys.queue("crop"))

    assert reaper.replace_lost_messages() == 0
    _age(redis, id, PATIENCE + 1_000)
    assert reaper.replace_lost_messages() == 1
    assert _messages(redis) == [id]


def test_a_lost_message_is_replaced_while_younger_ones_wait(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """A backlog that never empties must not hide the loss."""
    lost = _publish(redis, broker)
    redis.delete(keys.queue("crop"))
    waiting = _publish(redis, broker)
    _age(redis, lost, 4 * PATIENCE)
    _age(redis, waiting, 2 * PATIENCE)

    assert reaper.replace_lost_messages() == 1
    assert sorted(_messages(redis)) == sorted([lost, waiting])


def test_a_long_backlog_is_not_taken_for_lost(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Waiting long in a queue that moves slowly is no loss."""
    ids = [_publish(redis, broker) for _ in range(5)]
    for id in ids:
        _age(redis, id, 100 * PATIENCE)

    assert reaper.replace_lost_messages() == 0
    assert len(_messages(redis)) == 5


def test_a_retry_is_queued_when_it_is_due_and_not_before(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Delays are ours: Celery's ETA would be delivered again and again on this broker."""
    id = _publish(redis, broker)
    redis.delete(keys.queue("crop"))
    redis.hset(keys.invocation(id), "state", "delayed")
    redis.zadd(keys.DELAYED, {id: time.time() * 1000 + 60_000})

    assert reaper.retry_due() == 0
    redis.zadd(keys.DELAYED, {id: time.time() * 1000 - 1})
    assert reaper.retry_due() == 1
    assert _messages(redis) == [id]
    assert not redis.zcard(keys.DELAYED)


def test_a_dead_intakes_events_come_back_in_their_order(redis: Redis, reaper: Reaper) -> None:
    """What it had taken goes in front of what came later."""
    redis.sadd(keys.INTAKES, "i1")
    redis.rpush(keys.inflight("i1"), "first", "second")
    redis.rpush(keys.EVENTS, "third")
    redis.set(keys.intake_alive("i1"), "1")

    reaper.give_back_events()
    assert redis.llen(keys.inflight("i1")) == 2
    redis.delete(keys.intake_alive("i1"))
    reaper.give_back_events()
    assert redis.lrange(keys.EVENTS, 0, -1) == [b"first", b"second", b"third"]
