"""The health of the real store's event target."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator

import pytest
from minio import Minio
from pydantic import SecretStr
from redis import Redis

from bucketwheel.servers import EVENTS_USER
from storage.configuration import Trigger
from storage.errors import StoreUnavailable
from storage.health import HealthReader
from storage.rules import BucketRules
from storage.settings import StorageSettings
from tests.conftest import wait_until


@pytest.fixture
def bucket(storage: StorageSettings, store: Minio) -> str:
    """A bucket that tells of writes."""
    name = f"health-{uuid.uuid4().hex[:10]}"
    store.make_bucket(name)
    BucketRules(storage).mend([Trigger(bucket=name)])
    return name


@pytest.fixture
def deaf(redis: Redis) -> Iterator[None]:
    """Redis takes no events."""
    redis.execute_command("ACL", "SETUSER", EVENTS_USER, "-rpush")
    yield
    redis.execute_command("ACL", "SETUSER", EVENTS_USER, "+rpush")


def test_events_that_are_told_are_counted(
    storage: StorageSettings, store: Minio, redis: Redis, bucket: str
) -> None:
    """Within the age of the store's metrics."""
    health = HealthReader(storage)
    stale = health.read()
    store.put_object(bucket, "first", io.BytesIO(b"x"), 1)
    # Newer numbers have in them what other tests wrote just before, too.
    wait_until(lambda: health.read().taken > stale.taken, "the numbers are newer than the first")
    before = health.read()
    for n in range(3):
        store.put_object(bucket, f"{n}", io.BytesIO(b"x"), 1)

    wait_until(lambda: health.read().taken > before.taken, "more are counted")
    after = health.read()
    assert after.taken == before.taken + 3
    assert (after.lost, after.queued) == (before.lost, 0)
    assert after.started == before.started
    assert 0 < before.uptime <= after.uptime


def test_events_that_cannot_be_told_are_lost(
    storage: StorageSettings, store: Minio, deaf: None, bucket: str
) -> None:
    """They count as lost, and not as taken."""
    health = HealthReader(storage)
    before = health.read()
    store.put_object(bucket, "x", io.BytesIO(b"x"), 1)

    wait_until(lambda: health.read().lost > before.lost, "one more is lost")
    assert health.read().taken == before.taken


def test_a_store_that_refuses_us_is_said_so(storage: StorageSettings) -> None:
    """Metrics ask for a right of their own."""
    stranger = storage.model_copy(update={"s3_secret_key": SecretStr("x" * 40)})
    with pytest.raises(StoreUnavailable, match="admin:Prometheus"):
        HealthReader(stranger).read()
