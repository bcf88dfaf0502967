"""The outbox: records of how invocations ended, until their destinations have them.

A record is entered by the very transaction that ends its invocation. Deliverers take records for a
while, any number of them side by side; one that dies leaves what it has taken to the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis

from broker import keys
from broker.clock import milliseconds
from broker.dead_letter import DeadLetter
from broker.invocation import FunctionFault
from broker.lineage import Chain
from broker.scripts import Script

#: Seconds for which nobody else gets what a deliverer has taken.
LEASE: Final = 30.0
#: AWS's metric for records that could not be delivered.
UNDELIVERED: Final = "DestinationDeliveryFailures"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way to a destination."""

    #: The invocation's.
    id: str
    function: str
    #: How often it was taken: a fencing token.
    tries: int
    destination: str
    record: bytes
    #: The invocations that this one came from, the last of them last.
    chain: Chain = ()
    #: When the invocation ended, milliseconds; and seconds since then.
    at: int = 0
    age: float = 0.0

    @property
    def shown(self) -> str:
        """The destination without what may be secret in an address."""
        if not self.destination.startswith("http"):
            return self.destination
        parts = urlsplit(self.destination)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"


class Outbox:
    """The records that wait in Redis; each call is one transaction."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = Script("outbox")

    def due(self) -> list[str]:
        """Functions that have records which may be taken now."""
        functions: Any = self._redis.smembers(keys.OUTBOXES)
        names = sorted(each.decode() for each in functions)
        if not names:
            return []
        now = milliseconds(self._redis)
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.zcount(keys.outbox(name), "-inf", now)
        return [name for name, count in zip(names, pipeline.execute(), strict=True) if count]

    def take(self, function: str, most: int) -> list[Outgoing]:
        """Take records that are due, the longest overdue first."""
        found = self._script.run(self._redis, "take", function, most, int(LEASE * 1000))
        return [_outgoing(function, each) for each in found]

    def delivered(self, outgoing: Outgoing) -> bool:
        """A destination has it."""
        return self._tell(outgoing, "done", "")

    def append(self, outgoing: Outgoing, list_key: str) -> bool:
        """Append it to a list, and be done with it: it is there exactly once.

        Raises:
            redis.exceptions.ResponseError: the key holds something else than a list.
        """
        return self._tell(outgoing, "done", list_key)

    def later(self, outgoing: Outgoing, seconds: float) -> bool:
        """It was tried, and is tried again in so many seconds."""
        return self._tell(outgoing, "later", int(seconds * 1000), outgoing.tries)

    def give_back(self, outgoing: Outgoing, seconds: float = 0.0) -> bool:
        """It was not tried."""
        return self._tell(outgoing, "later", int(seconds * 1000), outgoing.tries - 1)

    def give_up(self, outgoing: Outgoing, fault: FunctionFault) -> bool:
        """Keep it as a dead letter."""
        letter = DeadLetter(
            outgoing.id,
            outgoing.function,
            outgoing.record,
            fault,
            attempts=outgoing.tries,
            destination=outgoing.destination,
        )
        return self._tell(outgoing, "drop", letter.render(), letter.reason)

    def _tell(self, outgoing: Outgoing, what: str, *arguments: Any) -> bool:
        known = (outgoing.function, outgoing.id, outgoing.tries)
        return bool(self._script.run(self._redis, what, *known, *arguments))


def waiting(redis: Redis) -> int:
    """Records that no destination has yet."""
    functions: Any = redis.smembers(keys.OUTBOXES)
    pipeline = redis.pipeline(transaction=False)
    for function in functions:
        pipeline.zcard(keys.outbox(function.decode()))
    return sum(pipeline.execute()) if functions else 0


def undelivered(outgoing: Outgoing, why: str) -> FunctionFault:
    """Why a record is given up."""
    return FunctionFault(UNDELIVERED, f"{outgoing.shown} did not take the record: {why}")


def _outgoing(function: str, found: list[Any]) -> Outgoing:
    id, tries, destination, record, chain, at, age = found
    steps = chain.decode("utf-8", "replace")
    return Outgoing(
        id.decode(),
        function,
        tries,
        destination.decode(),
        record,
        tuple(steps.split("\n")) if steps else (),
        int(at),
        age / 1000,
    )
