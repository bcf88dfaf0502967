"""The lease: a worker that lives is seen to live, and keeps what it holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from broker import keys
from broker.settings import BrokerSettings
from tests.conftest import wait_until
from workers.lease import Lease


@pytest.fixture
def lease(broker: BrokerSettings) -> Lease:
    return Lease(broker, "w1")


def _qos(noted: set[str]) -> Any:
    """What the lease reads of the channel's QoS."""
    return SimpleNamespace(noted=noted, unacked_index_key="unacked_index")


def test_a_worker_is_alive_for_a_while_after_each_renewal(redis: Redis, lease: Lease) -> None:
    """Without renewal the key expires, and others take over."""
    lease.run_once()

    assert redis.sismember(keys.WORKERS, "w1")
    left: Any = redis.pttl(keys.worker_alive("w1"))
    assert 0 < left <= 5_000


def test_what_is_held_is_rescored_and_what_is_acknowledged_does_not_come_back(
    redis: Redis, lease: Lease
) -> None:
    """A held message must not look abandoned, nor does another worker's look held."""
    redis.zadd("unacked_index", {"held": 1.0, "another's": 1.0})
    lease.qos = _qos({"held", "gone"})
    lease.run_once()

    found: Any = redis.zrange("unacked_index", 0, -1, withscores=True)
    scores = dict(found)
    assert scores[b"held"] > 1.0
    assert scores[b"another's"] == 1.0
    assert b"gone" not in scores


def test_a_stopped_worker_counts_as_gone_at_once(redis: Redis, lease: Lease) -> None:
    """A clean stop must not cost the others the time after which a silent one is dead."""
    lease.start()
    lease.stop()
    lease.stop()

    assert not redis.exists(keys.worker_alive("w1"))


def test_the_lease_is_renewed_after_redis_was_away(redis: Redis, lease: Lease) -> None:
    """A lost connection must not end the thread."""
    lease.start()
    try:
        redis.delete(keys.worker_alive("w1"))
        redis.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: redis.exists(keys.worker_alive("w1")), "the lease is renewed")
    finally:
        lease.stop()
