"""The Celery pool: a thin adapter between Celery's worker and the supervisor.

Contract: celery/concurrency/base.py. Callbacks run on the hub's thread only; hooks raise nothing
but InvalidTaskError, since the worker takes an OSError or KeyError for the loss of its broker.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import BasePool
from celery.exceptions import InvalidTaskError

from workers.delivery import delivery
from workers.supervisor import Supervisor

log = logging.getLogger("bucketwheel.pool")


class EnvironmentPool(BasePool):
    """Runs tasks in execution environments."""

    signal_safe = False
    supervisor: Supervisor

    def on_start(self) -> None:
        """Start the supervisor; a fault here stops the worker, with its reason."""
        self._hub: Any = None
        self._posted: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self.app.post = self.post
        self.supervisor = self.app.supervisor
        self.supervisor.start(self.post, self.app.on_rest)
        self.app.on_started()

    def register_with_event_loop(self, loop: Any) -> None:
        """Called at start and again after each reconnect."""
        self._hub = loop
        if self._posted:
            loop.call_soon(self._flush)

    def post(self, callback: Callable[[], None]) -> None:
        """Have a callback run on the hub's thread; callable from any thread."""
        self._posted.append(callback)
        if self._hub is not None and not self._scheduled:
            self._scheduled = True
            self._hub.call_soon(self._flush)

    def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        """Hand a message's invocations to the supervisor.

        Raises:
            InvalidTaskError: it is no call of a function; the consumer keeps it as a dead letter.
        """
        try:
            taken = delivery(args, options)
        except Exception as error:
            raise InvalidTaskError(f"it is no call of a function: {error!r}") from error
        self.supervisor.submit(taken)

    def on_stop(self) -> None:
        """Warm shutdown: let running invocations end, within the drain time."""
        self.supervisor.stop()
        self._flush()
        self.app.on_stopped()

    on_terminate = on_stop

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """`revoke(terminate=True)`: end the environment that runs this task."""
        self.supervisor.terminate(pid)

    def grow(self, n: int = 1) -> None:
        """Raise the host's limit of running environments."""
        self.supervisor.host.limit += n

    def shrink(self, n: int = 1) -> None:
        """Lower the host's limit; at 0 nothing more is taken."""
        host = self.supervisor.host
        host.limit = max(0, host.limit - n)

    @property
    def num_processes(self) -> int:
        """Messages this worker may hold: the gate of `worker_disable_prefetch`."""
        return self.supervisor.most_held

    def _get_info(self) -> dict[str, Any]:
        return {"implementation": "workers.pool:EnvironmentPool", **self.supervisor.info()}

    def _flush(self) -> None:
        self._scheduled = False  # before the queue is emptied: what comes later schedules anew
        while self._posted:
            callback = self._posted.popleft()
            try:
                callback()
            except Exception:
                log.exception("Celery refused a task's end")
