"""The deliverer: carries records of how invocations ended to their destinations.

It runs in a thread beside every intake. Each function's records go in their order by a thread of
their own, so that a destination that is away delays nobody else's.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from redis import Redis

from broker.connection import UNAVAILABLE, connect
from broker.destinations import Destinations, Load
from broker.errors import DeliveryFailed
from broker.outbox import LEASE, Outbox, Outgoing, undelivered
from broker.settings import BrokerSettings
from storage.settings import StorageSettings

log = logging.getLogger("bucketwheel.deliverer")

#: Seconds between looks at what is due.
TICK: Final = 0.25
#: Functions whose records are carried at once.
AT_ONCE: Final = 16
#: Records taken at once; the longest pause between two tries, and the longest they are tried for,
#: in seconds.
BATCH: Final = 20
MOST_DELAY: Final = 300.0
LONGEST: Final = 21_600.0


class Deliverer:
    """Any number run side by side; start, run_once, stop."""

    def __init__(self, settings: BrokerSettings, storage: StorageSettings, load: Load) -> None:
        """`load` reads a function's configuration from the store."""
        self._settings = settings
        redis: Redis = connect(settings)
        self._outbox = Outbox(redis)
        self._destinations = Destinations(redis, self._outbox, settings, storage, load)
        self._carried: set[str] = set()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="delivery")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the records in hand; stopping twice is safe."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * TICK)
        self._pool.shutdown(cancel_futures=True)

    def run_once(self) -> None:
        """Have the records carried of each function that has some due, and is not at it yet."""
        for function in self._outbox.due():
            if function not in self._carried:
                self._carried.add(function)
                self._pool.submit(self._carry, function)

    def _run(self) -> None:
        while not self._stopping.wait(TICK):
            try:
                self.run_once()
            except UNAVAILABLE as error:
                log.warning("Redis does not answer: %s", error)
            except Exception:
                log.exception("what is to be delivered cannot be read")

    def _carry(self, function: str) -> None:
        try:
            while not self._stopping.is_set() and self._carry_some(function):
                pass
        except UNAVAILABLE as error:
            log.warning("records of %s wait: Redis does not answer: %s", function, error)
        except Exception:
            log.exception("records of %s cannot be delivered", function)
        finally:
            self._carried.discard(function)

    def _carry_some(self, function: str) -> bool:
        """Carry a few; returns whether all went well, and there may be more.

        The first that is not taken ends it, and so does half of the time in which they are ours.
        """
        taken = self._outbox.take(function, BATCH)
        until = time.monotonic() + LEASE / 2
        for at, each in enumerate(taken, 1):
            is_delivered = self._deliver(each)
            if not is_delivered or time.monotonic() > until:
                for other in taken[at:]:
                    self._outbox.give_back(other, 0.0 if is_delivered else self._delay(1))
                return is_delivered
        return len(taken) == BATCH

    def _deliver(self, outgoing: Outgoing) -> bool:
        try:
            self._destinations.deliver(outgoing)
        except DeliveryFailed as error:
            self._put_off(outgoing, error)
            return False
        return True

    def _put_off(self, outgoing: Outgoing, error: DeliveryFailed) -> None:
        """Try it again later, or not any more."""
        log.warning("%s %s: %s: %s", outgoing.function, outgoing.id, outgoing.shown, error)
        if outgoing.tries >= self._settings.destination_tries or outgoing.age > LONGEST:
            self._outbox.give_up(outgoing, undelivered(outgoing, str(error)))
        else:
            self._outbox.later(outgoing, self._delay(outgoing.tries))

    def _delay(self, tries: int) -> float:
        """Seconds until the next try."""
        return min(self._settings.destination_delay * 2.0 ** (tries - 1), MOST_DELAY)
