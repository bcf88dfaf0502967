"""The lease: says each second that this worker lives, and holds what it holds.

Two things depend on it. The reaper queues a worker's invocations again when its liveness key has
expired. Celery's transport delivers a message again that stays unacknowledged for longer than the
visibility timeout, which here is 15 s, if it is noted as that in Redis, as those of plain Celery
clients are: the lease re-scores these. It runs in a thread with its own connection, since a stalled
hub must not look like a dead worker.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from redis import Redis

from broker import keys
from broker.connection import UNAVAILABLE, connect
from broker.settings import LIVENESS, BrokerSettings
from workers.transport import FunctionQoS

log = logging.getLogger("bucketwheel.lease")

#: Seconds between renewals.
INTERVAL: Final = 1.0


class Lease:
    """Renews this worker's liveness and its hold on messages; start, run_once, stop."""

    def __init__(self, settings: BrokerSettings, worker: str) -> None:
        self._redis: Redis = connect(settings)
        self._worker = worker
        #: What the consuming channel holds; set anew by the consumer at each reconnect.
        self.qos: FunctionQoS | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Announce the worker, before it takes anything, and start the thread."""
        self.run_once()
        self._thread.start()

    def stop(self) -> None:
        """End, and let the worker count as gone at once; stopping twice is safe."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * INTERVAL)
        try:
            self._redis.delete(keys.worker_alive(self._worker))
        except UNAVAILABLE as error:
            log.warning("Redis does not answer: %s", error)

    def run_once(self) -> None:
        """Renew once."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.sadd(keys.WORKERS, self._worker)
        pipeline.set(keys.worker_alive(self._worker), "1", px=int(LIVENESS * 1000))
        tags = list(self.qos.noted) if self.qos is not None else []
        if self.qos is not None and tags:
            # XX: an entry that was acknowledged meanwhile must not come back.
            pipeline.zadd(self.qos.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
        pipeline.execute()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                self.run_once()
            except UNAVAILABLE as error:
                log.warning("the lease could not be renewed: %s", error)
