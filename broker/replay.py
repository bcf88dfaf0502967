"""The replay: runs a function again for objects that are there, whatever was handled before.

A replay has an id, from which those of its invocations derive, and notes how far it has come: one
that was interrupted goes on where it stopped, and nothing is run twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from broker import keys
from broker.errors import ReplayNotFound
from broker.late_events import Functions, LateEvents, Progress
from broker.ledger import invocation_id
from broker.publication import Publication
from broker.routes import Routes
from broker.settings import BrokerSettings
from storage.errors import FunctionNotFound
from storage.events import ListedObject
from storage.settings import StorageSettings

#: What a handler finds as `x-amz-request-id` of an event that a replay has made.
FOUND_BY: Final = "bucketwheel-replay"
#: Seconds for which an interrupted replay can be resumed.
KEPT: Final = 604_800


class Selection(BaseModel):
    """What is run again."""

    model_config = ConfigDict(frozen=True)

    function: str
    #: Only this bucket, and in it only keys that begin so; empty: all triggers of the function.
    bucket: str = ""
    prefix: str = ""
    #: Only what was written from the one moment until before the other, by the store's clock.
    since: datetime | None = None
    until: datetime | None = None

    def has(self, write: ListedObject) -> bool:
        """Whether an object was written in that time."""
        has_begun = self.since is None or write.written >= self.since
        return has_begun and (self.until is None or write.written < self.until)


class Replay:
    """Begins replays, and runs them."""

    def __init__(
        self,
        redis: Redis,
        settings: BrokerSettings,
        storage: StorageSettings,
        functions: Functions,
    ) -> None:
        self._redis = redis
        self._late = LateEvents(redis, settings, storage, functions)

    def begin(self, selection: Selection) -> str:
        """Note down what is to be run again; returns the replay's id."""
        id = uuid.uuid4().hex[:12]
        self._note(id, "selection", selection.model_dump_json())
        return id

    def find(self, id: str) -> Selection:
        """What an earlier replay is for.

        Raises:
            ReplayNotFound: there is none of that id, or none any more.
        """
        found: Any = self._redis.hget(keys.replay(id), "selection")
        try:
            return Selection.model_validate_json(found or b"")
        except ValidationError:
            raise ReplayNotFound(
                f"no replay {id!r} is known: its id is printed when it begins, and kept for 7 days"
            ) from None

    def try_out(self, selection: Selection) -> Iterator[Progress]:
        """As `run`, but nothing is entered."""
        return self.run("", selection)

    def run(self, id: str, selection: Selection) -> Iterator[Progress]:
        """Enter all of it that this replay has not entered yet, and tell of each page.

        Raises:
            FunctionNotFound: the function is not deployed.
            StoreUnavailable: the store refused or did not answer.
        """
        function = self._late.functions().get(selection.function)
        if function is None:
            raise FunctionNotFound(f"no function {selection.function!r} is deployed")
        seen = entered = 0
        for place in self._late.places(function.triggers, selection.bucket, selection.prefix):
            for batch in self._late.batches(place, self._last_key(id, place)):
                seen += len(batch)
                entered += self._enter(id, batch, selection)
                if id:
                    self._note(id, "/".join(place), batch[-1].key)
                yield Progress(f"{place[0]}/{batch[-1].key}", seen, entered)

    def _enter(self, id: str, batch: list[ListedObject], selection: Selection) -> int:
        """Enter the invocations of a page, the oldest write first."""
        due = sorted((w for w in batch if selection.has(w)), key=lambda w: w.written)
        if not due:
            return 0
        return self._late.enter(
            lambda routes: _plan(routes, id, due, selection.function), dry_run=not id
        )

    def _last_key(self, id: str, place: tuple[str, str]) -> str:
        found: Any = self._redis.hget(keys.replay(id), "/".join(place)) if id else None
        return (found or b"").decode()

    def _note(self, id: str, name: str, text: str) -> None:
        pipeline = self._redis.pipeline()
        pipeline.hset(keys.replay(id), name, text)
        pipeline.expire(keys.replay(id), KEPT)
        pipeline.execute()


def _plan(routes: Routes, id: str, writes: list[ListedObject], function: str) -> Publication:
    found = Publication()
    for write in writes:
        routes.route(write.record(FOUND_BY), found)
    # Without further fields: a function's order would refuse what it has handled.
    return Publication(
        [
            replace(each, id=invocation_id(f"{each.id}\0{id}", function), fields={})
            for each in found.invocations
            if each.function == function
        ]
    )
