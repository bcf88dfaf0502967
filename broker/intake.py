"""The intake: moves the object store's events into function queues.

One round: take events into the intake's own in-flight list; parse and match them; then one
transaction empties that list, enters the ledger and pushes the Celery messages. Any number of
intakes run side by side. One that dies in between leaves its list, which another gives back.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from redis import Redis

from broker import keys
from broker.connection import UNAVAILABLE, connect
from broker.dead_letter import undeliverable
from broker.functions import DeployedFunctions
from broker.lineage import Lineage
from broker.liveness import make_id
from broker.publication import FUNCTIONS_CHANGED, Publication, Publisher
from broker.reaper import Reaper
from broker.routes import Routes
from broker.schedules import Schedules
from broker.scripts import Script
from broker.settings import LIVENESS, BrokerSettings
from storage import events
from storage.configuration import FunctionConfiguration, Trigger
from storage.errors import EventFormatError, StorageError

log = logging.getLogger("bucketwheel.intake")

#: Seconds between rounds of the reaper, and the longest wait for an event.
TICK: Final = 1.0

#: Reads the deployed functions from the store.
Functions = Callable[[], Mapping[str, FunctionConfiguration]]


class Intake:
    """Takes events, matches triggers, publishes invocations; start, run_once, stop."""

    def __init__(
        self, settings: BrokerSettings, functions: Functions, deployments: Trigger, region: str
    ) -> None:
        """`deployments` is the trigger of the platform's own function: an upload of code."""
        self.id = make_id(platform.node())
        self._settings = settings
        self._functions = functions
        self._deployments = deployments
        self._region = region
        self._redis: Redis = connect(settings)
        self._publisher = Publisher(self._redis, settings)
        self._deployed = DeployedFunctions(self._redis)
        self._reaper = Reaper(self._redis, region)
        self._schedules = Schedules(self._redis, self._publisher, region)
        self._take = Script("take")
        self._routes = Routes({}, deployments, region)
        self._lineage = Lineage(self._redis)
        self._generation: bytes | None = None
        self._next_tick = 0.0
        self._stopping = threading.Event()

    def start(self) -> None:
        """Run until `stop`; whatever Redis or the store do, go on when they are back."""
        log.info("intake %s takes events from %s", self.id, keys.EVENTS)
        while not self._stopping.is_set():
            try:
                self.run_once()
            except UNAVAILABLE as error:
                self._wait("Redis does not answer", error)
            except StorageError as error:
                self._wait("functions cannot be read", error)

    def stop(self) -> None:
        """End after the round in hand; calling it again, or before start, is safe."""
        self._stopping.set()

    def run_once(self) -> int:
        """One round; returns the number of new invocations."""
        self._tick()
        taken = self._take_events()
        if not taken:
            return 0
        while not self._stopping.is_set():
            if self._generation is None:
                self._read_functions()
            new = self._publish(taken)
            if new != FUNCTIONS_CHANGED:
                return max(new, 0)
            self._generation = None
        return 0

    def _publish(self, taken: list[bytes]) -> int:
        assert self._generation is not None
        publication = plan(taken, self._routes)
        self._lineage.settle(publication, self._routes.functions)
        new = self._publisher.publish(publication, self._generation, self.id, len(taken))
        if any(each.batching for each in publication.invocations):
            self._reaper.close_batches()
        return new

    def _take_events(self) -> list[bytes]:
        """Events in flight: all that wait, up to a batch; or the first to come within a tick."""
        batch = self._settings.event_batch
        found: list[bytes] = self._take.run(self._redis, self.id, batch, int(LIVENESS * 1000))
        if found:
            return found
        wait: Any = max(0.01, min(TICK, self._next_tick - time.monotonic()))
        first: Any = self._redis.blmove(
            keys.EVENTS, keys.inflight(self.id), wait, src="LEFT", dest="RIGHT"
        )
        return [] if first is None else [first]

    def _read_functions(self) -> None:
        """Read the deployed functions anew, and announce their names to callers."""
        generation = self._deployed.generation()
        functions = self._functions()
        self._routes = Routes(functions, self._deployments, self._region)
        self._reaper.use(functions)
        self._schedules.use(functions)
        self._deployed.replace(functions, generation)
        self._generation = generation
        log.info("%d functions", len(functions))

    def _tick(self) -> None:
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK
            self._reaper.run_once()
            if self._generation is None or self._deployed.generation() != self._generation:
                self._read_functions()
            self._schedules.run_once(self._generation or b"")

    def _wait(self, what: str, error: Exception) -> None:
        log.warning("%s, trying again in 1 s: %s", what, error)
        self._generation = None
        self._stopping.wait(1.0)


def plan(notifications: list[bytes], routes: Routes) -> Publication:
    """What these notifications ask for: an invocation per record and function it is for.

    A notification of no known shape becomes a dead letter that says what is wrong with it.
    """
    publication = Publication()
    for raw in notifications:
        try:
            for record in events.parse(raw):
                routes.route(record, publication)
        except EventFormatError as error:
            log.warning("a notification is kept as a dead letter: %s", error)
            letter = undeliverable(uuid.uuid4().hex, keys.INTAKE, raw, str(error))
            publication.letters.append(letter)
    return publication
