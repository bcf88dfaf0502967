"""After an absence of Redis, or of all reapers, nobody is taken for dead who could not renew."""

from __future__ import annotations

import time
import uuid

import pytest
from redis import Redis

from broker import keys
from broker.ledger import Claim, Ledger
from broker.publication import NewInvocation, Publication, Publisher
from broker.reaper import Reaper
from broker.settings import BrokerSettings

REAPING = keys.PREFIX + "reaping"


@pytest.fixture
def held(redis: Redis, broker: BrokerSettings) -> str:
    """An invocation that a worker holds whose lease has lapsed; reapers have run all the while."""
    id = str(uuid.uuid4())
    Publisher(redis, broker).publish(Publication([NewInvocation(id, "crop", b"{}", "x")]), b"")
    redis.delete(keys.queue("crop"))
    redis.set(keys.worker_alive("w1"), "1")
    Reaper(redis).run_once()
    Ledger(redis, "w1", broker).exchange([], [Claim(id, "crop")])
    redis.delete(keys.worker_alive("w1"))
    return id


def _go_back(redis: Redis, field: str, seconds: float) -> None:
    """Have something be so long ago: the clock itself cannot be set."""
    redis.hset(REAPING, field, int((time.time() - seconds) * 1000))


def test_a_worker_whose_lease_has_lapsed_is_dead(redis: Redis, held: str) -> None:
    """While reapers and Redis were there."""
    _go_back(redis, "last", 0)
    assert Reaper(redis).run_once() == 1
    assert redis.hget(keys.invocation(held), "state") == b"queued"


def test_after_an_absence_workers_get_time_to_renew_their_lease(redis: Redis, held: str) -> None:
    """Redis was away for longer than a lease lasts: nobody could renew, and everybody runs."""
    _go_back(redis, "last", 30)

    assert Reaper(redis).run_once() == 0
    assert Reaper(redis).run_once() == 0
    assert redis.hget(keys.invocation(held), "state") == b"running"


def test_who_is_still_silent_then_is_dead(redis: Redis, held: str) -> None:
    """The time to renew is over, and reapers have run since."""
    _go_back(redis, "last", 30)
    Reaper(redis).run_once()
    _go_back(redis, "since", 60)
    _go_back(redis, "last", 0)

    assert Reaper(redis).run_once() == 1


def test_before_the_first_reaper_comes_back_no_worker_takes_over_either(
    redis: Redis, broker: BrokerSettings, held: str
) -> None:
    """Celery's transport may deliver the message again before any reaper has run."""
    _go_back(redis, "last", 30)
    redis.set(keys.worker_alive("w2"), "1")
    _, begun = Ledger(redis, "w2", broker).exchange([], [Claim(held, "crop")])

    assert begun == [None]
