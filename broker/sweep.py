"""The sweep: finds writes that no invocation is known to have handled, and enters them.

What a listing tells of a write gives the same invocation id as its event does, so that the memory
(broker/memory.py) knows both: whichever comes first is run, the other is dropped. A sweep that is
interrupted or repeated does no harm.

It cannot find what is no longer listed: a write that was overwritten in a bucket without versions,
and removals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from redis import Redis

from broker.errors import NothingTriggered
from broker.late_events import Functions, LateEvents, Progress
from broker.memory import Memory
from broker.publication import NewInvocation, Publication
from broker.routes import Routes
from broker.settings import BrokerSettings
from storage.events import EventRecord, ListedObject
from storage.settings import StorageSettings

#: What a handler finds as `x-amz-request-id` of an event that a sweep has made.
FOUND_BY: Final = "bucketwheel-sweep"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a sweep looks at."""

    #: Written at or after this moment, by the store's clock.
    since: datetime
    #: Only this bucket, and in it only keys that begin so; empty: all triggers.
    bucket: str = ""
    prefix: str = ""
    #: Also what was written before a function was first deployed.
    with_older: bool = False


class Sweep:
    """Runs sweeps; any number may run at once."""

    def __init__(
        self,
        redis: Redis,
        settings: BrokerSettings,
        storage: StorageSettings,
        functions: Functions,
    ) -> None:
        self._late = LateEvents(redis, settings, storage, functions)
        self._memory = Memory(redis, settings)

    def run(self, scope: Scope, *, dry_run: bool = False) -> Iterator[Progress]:
        """Look at all of it in pages, and tell of each step; at the end all is entered.

        Raises:
            NothingTriggered: no function is for what is asked about, or it does not exist.
            StoreUnavailable: the store refused or did not answer.
        """
        triggers = [
            trigger for each in self._late.functions().values() for trigger in each.triggers
        ]
        triggers.append(self._late.deployments)
        sets = self._memory.sets(scope.since)
        places = self._late.places(triggers, scope.bucket, scope.prefix)
        if scope.bucket and not places:
            raise NothingTriggered(
                f"no function is triggered by writes to {scope.bucket}/{scope.prefix}:"
                " `bucketwheel functions` lists the triggers"
            )
        seen = entered = 0
        for place in places:
            for batch in self._late.batches(place):
                seen += len(batch)
                entered += self._enter(batch, scope, sets, dry_run)
                yield Progress(f"{place[0]}/{batch[-1].key}", seen, entered)

    def _enter(
        self, batch: list[ListedObject], scope: Scope, sets: list[str], dry_run: bool
    ) -> int:
        """Enter what is not known of, the oldest first."""
        due = sorted((w for w in batch if w.written >= scope.since), key=lambda w: w.written)
        if not due:
            return 0
        records = [each.record(FOUND_BY) for each in due]
        return self._late.enter(
            lambda routes: self._plan(routes, records, scope, sets), dry_run=dry_run
        )

    def _plan(
        self, routes: Routes, records: list[EventRecord], scope: Scope, sets: list[str]
    ) -> Publication:
        found: list[NewInvocation] = []
        for record in records:
            publication = Publication()
            routes.route(record, publication)
            found += [
                each
                for each in publication.invocations
                if scope.with_older or _was_there(routes, each.function, record)
            ]
        unknown = self._memory.unknown([each.id for each in found], sets)
        return Publication([each for each in found if each.id in unknown])


def _was_there(routes: Routes, name: str, record: EventRecord) -> bool:
    """Whether a function was deployed when the object was written, as far as is known."""
    function = routes.functions.get(name)
    if function is None or function.version > 1 or record.written is None:
        return True
    return record.written >= function.deployed_at
