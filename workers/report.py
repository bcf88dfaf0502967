"""The report: tells each second what this worker's environments do, and hears how many hosts live.

In a thread with its own connection: the supervisor waits for nobody.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from redis import Redis

from broker import fleets
from broker.connection import UNAVAILABLE, connect
from broker.fleets import FleetReport, HostReport
from broker.liveness import workers_alive
from broker.settings import BrokerSettings

log = logging.getLogger("bucketwheel.report")

#: Seconds between reports.
INTERVAL: Final = 1.0

Read = Callable[[], tuple[HostReport, list[FleetReport]]]


class Report:
    """Reads, tells, and passes on the number of hosts; start, run_once, stop."""

    def __init__(
        self, settings: BrokerSettings, worker: str, read: Read, share: Callable[[int], None]
    ) -> None:
        self._redis: Redis = connect(settings)
        self._worker = worker
        self._read = read
        self._share = share
        self._hosts = 1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End; stopping twice is safe."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * INTERVAL)

    def run_once(self) -> None:
        """Tell once, and look who else lives."""
        fleets.tell(self._redis, self._worker, *self._read())
        hosts = max(1, len(workers_alive(self._redis)))
        if hosts != self._hosts:
            self._hosts = hosts
            self._share(hosts)

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                self.run_once()
            except UNAVAILABLE as error:
                log.warning("the environments' numbers could not be told: %s", error)
