"""Late events: those made from a listing, for writes that are there; sweeps and replays enter them.

A listing does not tell how an object was written: a function that asks for any of the writing
events gets them all, as `ObjectCreated:Put`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from redis import Redis

from broker.functions import DeployedFunctions
from broker.publication import FUNCTIONS_CHANGED, Publication, Publisher
from broker.routes import Routes
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads
from storage.events import ListedObject
from storage.listing import Listing
from storage.settings import StorageSettings

#: Objects looked at, and entered, at once.
BATCH: Final = 200

#: Reads the deployed functions from the store.
Functions = Callable[[], Mapping[str, FunctionConfiguration]]
#: Makes a publication by the functions that are deployed.
Plan = Callable[[Routes], Publication]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a sweep or a replay has come to."""

    place: str = ""
    #: Keys or versions listed.
    seen: int = 0
    #: Invocations entered; in a dry run, those that would have been.
    entered: int = 0


class LateEvents:
    """Lists writes, and enters what is planned for them."""

    def __init__(
        self,
        redis: Redis,
        settings: BrokerSettings,
        storage: StorageSettings,
        functions: Functions,
    ) -> None:
        self._listing = Listing(storage)
        self._region = storage.s3_region
        self.deployments = uploads(storage.system_bucket)
        self._functions = functions
        self._publisher = Publisher(redis, settings)
        self._deployed = DeployedFunctions(redis)
        self._generation = b""
        self._routes = Routes({}, self.deployments, self._region)

    def functions(self) -> Mapping[str, FunctionConfiguration]:
        """The functions that are deployed, read anew."""
        self._generation = self._deployed.generation()
        functions = {name: _as_listed(each) for name, each in self._functions().items()}
        self._routes = Routes(functions, self.deployments, self._region)
        return functions

    def places(
        self, triggers: Iterable[Trigger], bucket: str, prefix: str
    ) -> list[tuple[str, str]]:
        """What there is to list for these triggers, narrowed down to a bucket and prefix if given.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        existing = self._listing.buckets()
        found = distinct_places(triggers, bucket, prefix)
        return [place for place in found if place[0] in existing]

    def batches(self, place: tuple[str, str], after: str = "") -> Iterator[list[ListedObject]]:
        """The writes of a place whose keys come after that one; only a page is held at once.

        All versions of a key are in one batch.
        """
        batch: list[ListedObject] = []
        for write in self._listing.writes(*place, after):
            if len(batch) >= BATCH and write.key != batch[-1].key:
                yield batch
                batch = []
            batch.append(write)
        if batch:
            yield batch

    def enter(self, plan: Plan, *, dry_run: bool) -> int:
        """Enter what is planned; planned again if functions change meanwhile.

        Returns the number of invocations that were new.
        """
        while True:
            publication = plan(self._routes)
            if dry_run or not publication.invocations:
                return len(publication.invocations)
            new = self._publisher.publish(publication, self._generation)
            if new != FUNCTIONS_CHANGED:
                return new
            self.functions()


def distinct_places(triggers: Iterable[Trigger], bucket: str, prefix: str) -> list[tuple[str, str]]:
    """Buckets and prefixes that triggers are about, none of them within another."""
    wanted = set()
    for each in triggers:
        if bucket in ("", each.bucket):
            shorter, longer = sorted((each.prefix, prefix), key=len)
            if longer.startswith(shorter):
                wanted.add((each.bucket, longer))
    found: list[tuple[str, str]] = []
    for place in sorted(wanted):
        if not (found and found[-1][0] == place[0] and place[1].startswith(found[-1][1])):
            found.append(place)
    return found


def _as_listed(function: FunctionConfiguration) -> FunctionConfiguration:
    """A function as listed objects see it: whatever writing event it asks for is theirs."""
    triggers = tuple(
        trigger.model_copy(update={"events": ("ObjectCreated:Put",)})
        for trigger in function.triggers
        if any(event.startswith("ObjectCreated:") for event in trigger.events)
    )
    return function.model_copy(update={"triggers": triggers})
