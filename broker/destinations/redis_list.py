"""The destination `redis:LIST`: a list in the system's Redis, to whose end records are put."""

from __future__ import annotations

from redis.exceptions import ResponseError

from broker.errors import DeliveryFailed
from broker.outbox import Outbox, Outgoing


class RedisListDestination:
    """Appends in the transaction that strikes the record off: it is there exactly once."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def deliver(self, outgoing: Outgoing) -> None:
        """RPUSH."""
        name = outgoing.destination.partition(":")[2]
        try:
            self._outbox.append(outgoing, name)
        except ResponseError as error:
            raise DeliveryFailed(f"Redis refused to append to {name!r}: {error}") from None
