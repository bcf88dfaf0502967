"""Real objects and functions for tests of what is found by listing."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from minio import Minio
from redis import Redis

from broker import keys
from broker.functions import DeployedFunctions
from broker.intake import Intake
from broker.message import delivered
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads
from storage.functions import FunctionStore
from storage.rules import BucketRules
from storage.settings import StorageSettings


def function(name: str, *triggers: Trigger, **words: Any) -> FunctionConfiguration:
    """A function as the store has it; it counts as deployed long ago."""
    values: dict[str, Any] = {
        "name": name,
        "handler": "app.handler",
        "triggers": triggers,
        "code_sha256": "0" * 64,
        "deployed_at": datetime(2020, 1, 1, tzinfo=UTC),
    }
    return FunctionConfiguration(**{**values, **words})


@dataclass
class World:
    """A store and a broker, and functions that are deployed in both."""

    storage: StorageSettings
    store: Minio
    broker: BrokerSettings
    redis: Redis
    bucket: str
    deployed: dict[str, FunctionConfiguration] = field(default_factory=dict)

    @classmethod
    def make(
        cls, storage: StorageSettings, store: Minio, broker: BrokerSettings, redis: Redis
    ) -> World:
        """With a system bucket and a bucket of its own, which tells of its writes."""
        own = storage.model_copy(update={"system_bucket": f"system-{uuid.uuid4().hex[:10]}"})
        found = cls(own, store, broker, redis, f"photos-{uuid.uuid4().hex[:10]}")
        FunctionStore(own).prepare()
        store.make_bucket(found.bucket)
        BucketRules(own).mend([Trigger(bucket=found.bucket), uploads(own.system_bucket)])
        found.deploy(function("crop", Trigger(bucket=found.bucket, prefix="in/")))
        return found

    def functions(self) -> Mapping[str, FunctionConfiguration]:
        """As the store would tell."""
        return self.deployed

    def deploy(self, *functions: FunctionConfiguration) -> None:
        """Tell of these functions."""
        self.deployed.update({each.name: each for each in functions})
        DeployedFunctions(self.redis).add(functions)

    def intake(self) -> Intake:
        """An intake of its own."""
        trigger = uploads(self.storage.system_bucket)
        return Intake(self.broker, self.functions, trigger, "us-east-1")

    def put(self, keys: Iterable[str], bucket: str = "") -> None:
        """Upload objects, many at once."""

        def one(key: str) -> None:
            self.store.put_object(bucket or self.bucket, key, io.BytesIO(b"x"), 1)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(one, keys))

    def lose_events(self) -> None:
        """What was told, and is not taken yet, is gone."""
        self.redis.delete(keys.EVENTS)

    def queued(self, function: str = "crop") -> list[str]:
        """Keys of the objects that a function is to be run for, as they were queued."""
        messages: Any = self.redis.lrange(keys.queue(function), 0, -1)
        ids = [id for each in reversed(messages) for id in delivered(each)]
        events: Any = [self.redis.hget(keys.invocation(id), "event") for id in ids]
        records = [orjson.loads(each)["Records"][0] for each in events if each]
        return [each["s3"]["object"]["key"] for each in records]
