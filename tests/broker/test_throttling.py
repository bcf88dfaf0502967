"""Throttled work: it stays in line, in its order, whoever is refused it."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from broker import keys
from broker.invocation import Throttled
from broker.ledger import Claim, Ledger
from broker.message import delivered
from broker.publication import NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings

IDS = ["first", "second", "third"]


@pytest.fixture
def ledger(redis: Redis, broker: BrokerSettings) -> Ledger:
    redis.set(keys.worker_alive("w1"), "1")
    invocations = [NewInvocation(id, "crop", b"{}") for id in IDS]
    Publisher(redis, broker).publish(Publication(invocations), b"")
    return Ledger(redis, "w1", broker)


def _take(redis: Redis) -> list[str]:
    """Take all messages, in the order in which workers do."""
    taken: list[str] = []
    while message := redis.rpop(keys.queue("crop")):
        taken += delivered(message)  # type: ignore[arg-type]
    return taken


def test_refused_work_is_the_next_again_in_its_order(redis: Redis, ledger: Ledger) -> None:
    """Several were claimed in one round trip: the first of them is taken first again."""
    assert _take(redis) == IDS
    _, begun = ledger.exchange([], [Claim(id, "crop", reserved=0) for id in IDS])

    assert begun == [Throttled(id, "crop") for id in IDS]
    assert _take(redis) == IDS


def test_refused_work_keeps_its_place_in_time(redis: Redis, ledger: Ledger) -> None:
    """By which it is seen to be too old one day: refusals do not make it young again."""
    before: Any = redis.zrange(keys.queued("crop"), 0, -1, withscores=True)
    for _ in range(3):
        ledger.exchange([], [Claim(id, "crop", reserved=0) for id in _take(redis)])

    assert redis.zrange(keys.queued("crop"), 0, -1, withscores=True) == before
    assert redis.hget(keys.counters("crop"), "throttled") == b"3"
