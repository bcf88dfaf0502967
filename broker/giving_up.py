"""Giving up: what becomes of an invocation that is not tried any more.

Its record goes to the function's destination for failures; without one it is kept as a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from broker import event_age, keys
from broker.dead_letter import DeadLetter
from broker.destination_record import DestinationRecord
from broker.invocation import FunctionFault
from broker.ledger import fault_reply
from broker.scripts import Argument
from storage.configuration import FunctionConfiguration


class GivingUp:
    """Tells, by the deployed functions, what is too old and where its record goes."""

    def __init__(self, redis: Redis, region: str) -> None:
        self._redis = redis
        self._region = region
        #: The deployed functions, which say what is too old and where records go; None: nobody has
        #: read them yet, and nothing is given up by what they might say.
        self.functions: Mapping[str, FunctionConfiguration] | None = None

    def maximum_age(self, function: str) -> int | None:
        """Seconds an invocation may be on its way; None: uploads of code never are too old."""
        if function == keys.DEPLOY or self.functions is None:
            return None
        known = self.functions.get(function)
        return known.maximum_event_age if known else event_age.LONGEST

    def too_old(self, function: str, age: float, awaited: bool) -> FunctionFault | None:
        """The fault of an invocation so many seconds old, if that is too old.

        Whoever waits for a response has a time limit of his own, and is gone after six hours.
        """
        maximum = event_age.LONGEST if awaited else self.maximum_age(function)
        return None if maximum is None or age <= maximum else event_age.exceeded(maximum)

    def arguments(self, id: str, attempts: int, fault: FunctionFault) -> tuple[Argument, ...]:
        """Letter, reason, reply, destination and record, as the script `requeue` takes them."""
        found: Any = self._redis.hmget(keys.invocation(id), "function", "event", "reply")
        function, event, awaited = (each or b"" for each in found)
        letter = DeadLetter(id, function.decode(), event, fault, attempts)
        known = (self.functions or {}).get(letter.function)
        destination = known.on_failure if known and not awaited else None
        record = DestinationRecord(
            id, letter.function, event, fault, invoked=attempts, region=self._region
        )
        told = (destination, record.render()) if destination else ("", "")
        return (letter.render(), letter.reason, fault_reply(fault), *told)
