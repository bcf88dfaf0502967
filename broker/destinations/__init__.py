"""Destinations: what takes the record of how an invocation ended; each kind in its own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from redis import Redis

from broker.destinations.function import FunctionDestination
from broker.destinations.http import HttpDestination
from broker.destinations.redis_list import RedisListDestination
from broker.destinations.s3 import S3Destination
from broker.errors import DeliveryFailed
from broker.outbox import Outbox, Outgoing
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.settings import StorageSettings

#: Loads a function's configuration by its name; raises FunctionNotFound.
Load = Callable[[str], FunctionConfiguration]


class Destination(Protocol):
    """One kind of destination."""

    def deliver(self, outgoing: Outgoing) -> None:
        """Hand the record over, and strike it off the outbox.

        Raises:
            DeliveryFailed: it was not taken.
        """


class Destinations:
    """Every kind, by the scheme that a destination begins with."""

    def __init__(
        self,
        redis: Redis,
        outbox: Outbox,
        broker: BrokerSettings,
        storage: StorageSettings,
        load: Load,
    ) -> None:
        http = HttpDestination(outbox)
        self._kinds: Mapping[str, Destination] = {
            "function": FunctionDestination(redis, outbox, broker, load),
            "redis": RedisListDestination(outbox),
            "s3": S3Destination(outbox, storage, load),
            "http": http,
            "https": http,
        }

    def deliver(self, outgoing: Outgoing) -> None:
        """Hand a record over to where it is to go, and strike it off the outbox.

        Raises:
            DeliveryFailed: it was not taken.
        """
        kind = self._kinds.get(outgoing.destination.partition(":")[0])
        if kind is None:
            raise DeliveryFailed(f"{outgoing.shown} is of no known kind")
        kind.deliver(outgoing)
