"""The destination `function:NAME`: another function, which gets the record as its event."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from broker import lineage
from broker.errors import DeliveryFailed
from broker.ledger import invocation_id
from broker.outbox import Outbox, Outgoing
from broker.publication import NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.errors import StorageError


class FunctionDestination:
    """Enters an invocation, whose id is derived: sent again, it is dropped as seen."""

    def __init__(
        self,
        redis: Redis,
        outbox: Outbox,
        settings: BrokerSettings,
        load: Callable[[str], FunctionConfiguration],
    ) -> None:
        self._outbox = outbox
        self._publisher = Publisher(redis, settings)
        self._load = load

    def deliver(self, outgoing: Outgoing) -> None:
        """Enter the invocation, unless it is the end of a chain that has no end."""
        name = outgoing.destination.partition(":")[2]
        chain = lineage.extended(outgoing.chain, outgoing.function, outgoing.id)
        if len(chain) >= lineage.MOST and lineage.is_endless(chain, self._configuration(name)):
            self._outbox.give_up(outgoing, lineage.stopped(chain))
            return
        self._enter(name, outgoing, chain)
        self._outbox.delivered(outgoing)

    def _enter(self, name: str, outgoing: Outgoing, chain: lineage.Chain) -> None:
        id = invocation_id(f"destination of {outgoing.id} at {outgoing.at}", name)
        label = f"end of {outgoing.function} {outgoing.id}"
        invocation = NewInvocation(id, name, outgoing.record, label, fields=lineage.fields(chain))
        if not self._publisher.enter(Publication([invocation]), name):
            raise DeliveryFailed(f"no function {name!r} is deployed")

    def _configuration(self, name: str) -> FunctionConfiguration | None:
        try:
            return self._load(name)
        except StorageError:
            return None
