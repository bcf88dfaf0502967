"""Routes: what each event record leads to, by triggers and filters of the deployed functions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from broker import keys, ordering
from broker.batches import batching
from broker.errors import FilterError
from broker.filters import Filters
from broker.ledger import invocation_id
from broker.publication import NewInvocation, Publication
from broker.triggers import TriggerIndex
from broker.writer import Writer, writer
from storage.configuration import FunctionConfiguration, Trigger
from storage.events import EventRecord, aws_event

log = logging.getLogger("bucketwheel.intake")


class Routes:
    """Compiled from the functions once, whenever these change."""

    def __init__(
        self, functions: Mapping[str, FunctionConfiguration], deployments: Trigger, region: str
    ) -> None:
        """`deployments` is the trigger of the platform's own function: an upload of code."""
        self.functions = functions
        self._region = region
        triggers = {name: each.triggers for name, each in functions.items()}
        self._index = TriggerIndex({**triggers, keys.DEPLOY: (deployments,)})
        self._filters = {name: _filters(each) for name, each in functions.items() if each.filters}

    def route(self, record: EventRecord, publication: Publication) -> None:
        """Add an invocation for each function that the record is for.

        What a function's filters refuse is dropped, and counted.
        """
        matched = self._index.match(record.bucket, record.event, record.key)
        if not matched:
            return
        described = record.aws_record(self._region)
        event, by, identity = aws_event(described), writer(record), record.identity
        for function in matched:
            filters = self._filters.get(function)
            if filters is not None and not filters.match(described):
                publication.counts[function, "filtered"] += 1
                continue
            id = invocation_id(identity, function)
            publication.invocations.append(
                self._invocation(id, function, event, record, described, by)
            )

    def _invocation(
        self,
        id: str,
        function: str,
        event: bytes,
        record: EventRecord,
        described: dict[str, Any],
        by: Writer | None,
    ) -> NewInvocation:
        configuration = self.functions.get(function)
        is_ordered = configuration is not None and configuration.order == "key"
        gathers = batching(configuration) if configuration else None
        if gathers:  # its function names it by this id
            event = aws_event({"messageId": id, **described})
        return NewInvocation(
            id,
            function,
            event,
            f"{record.bucket}/{record.key}"[:200],
            batching=gathers,
            fields=ordering.fields(record) if is_ordered else {},
            writer=by,
        )


def _filters(function: FunctionConfiguration) -> Filters | None:
    """A function's filters; deployment has refused what cannot be used, so that none is lost."""
    try:
        return Filters(function.filters)
    except FilterError as error:
        log.error("%s is run without filters: %s", function.name, error)
        return None
