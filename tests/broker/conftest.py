"""A world of the broker's own, on real servers."""

from __future__ import annotations

import pytest
from minio import Minio
from redis import Redis

from broker.settings import BrokerSettings
from storage.settings import StorageSettings
from tests.broker.late import World


@pytest.fixture
def world(storage: StorageSettings, store: Minio, broker: BrokerSettings, redis: Redis) -> World:
    """A store whose bucket tells of writes, and one function, `crop`, below `in/`."""
    return World.make(storage, store, broker, redis)
