"""What our worker's consumer does beyond Celery's: function queues, the lease, broken messages."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from celery import Task, bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer

from broker import keys
from storage.configuration import FunctionConfiguration
from workers.errors import WorkerError

log = logging.getLogger("bucketwheel.consumer")

#: Seconds for which task events gather before they are published.
EVENTS_INTERVAL: Final = 0.1


class FunctionTask(Task):
    """A function as a Celery task, by its own name. It runs in environments, never here."""

    acks_late = True
    ignore_result = True
    typing = False

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a stock pool took the task."""
        raise WorkerError("functions run in the worker started by `bucketwheel worker` only")


class FunctionConsumer(Consumer):
    """Celery's consumer, which also follows functions as they come and go."""

    _events_due = 0.0

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying each second: Celery's own pause grows to 30 s."""
        return conn.ensure_connection(
            self._tell_of_retry, None, interval_start=0.2, interval_step=0.2, interval_max=1.0
        )

    def on_send_event_buffered(self) -> None:
        """Publish task events several at a time: Celery would after each round of its loop.

        By the clock, since a lost connection clears the hub's timers.
        """
        now = time.monotonic()
        if self.hub and now >= self._events_due:
            self._events_due = now + EVENTS_INTERVAL
            self.hub.call_later(EVENTS_INTERVAL, self.flush_events)

    def flush_events(self) -> None:
        """Publish what has gathered."""
        self._flush_events()

    def use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        """Consume the queues of exactly these functions. Hub's thread only."""
        wanted = {keys.queue(name): name for name in [*functions, keys.DEPLOY]}
        for queue, name in wanted.items():
            self._register(name)
            if not self.task_consumer.consuming_from(queue):
                self.add_task_queue(queue, exchange="", routing_key=queue)
        for queue in set(self.app.amqp.queues.consume_from) - set(wanted):
            self.cancel_task_queue(queue)

    def rest(self, functions: frozenset[str]) -> None:
        """Leave the queues of these functions alone, and take from all others. Hub's thread only.

        While there is no connection nothing is taken; the next consumer is told anew.
        """
        if self.task_consumer is None:
            return
        try:
            self.task_consumer.channel.rest(frozenset(map(keys.queue, functions)))
        except self.connection_errors as error:
            log.warning("Redis does not answer: %s", error)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's handler of messages, which no message can take the worker down with."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except self.connection_errors:
                raise
            except Exception as error:
                self._bury(message, f"a message cannot be used: {error!r}")

        return on_task_received

    def on_unknown_task(self, body: Any, message: Any, exc: Any) -> None:
        """Keep a message for a function that is not deployed."""
        self._bury(message, f"Function not found: {message.headers.get('task')}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep a message of no known protocol."""
        self._bury(message, "a message is of no protocol that Celery knows")

    def on_invalid_task(self, body: Any, message: Any, exc: Any) -> None:
        """Keep a message whose body has another shape than its protocol says."""
        self._bury(message, f"a message's body cannot be used: {exc}")

    def on_decode_error(self, message: Any, exc: Any) -> None:
        """Keep a message whose body cannot be read."""
        self._bury(message, f"a message's body cannot be read: {exc}")

    def _bury(self, message: Any, reason: str) -> None:
        queue = str(message.delivery_info.get("routing_key"))
        item = json.dumps(message.serializable(), default=_as_text)
        self.app.bury(queue, item.encode(), reason)
        message.ack_log_error(log, self.connection_errors)
        # What Celery has reserved counts against the pool's limit until it is ready.
        for request in [each for each in state.reserved_requests if each.message is message]:
            state.task_ready(request)

    def _register(self, name: str) -> None:
        if name not in self.app.tasks:
            self.app.register_task(type("FunctionTask", (FunctionTask,), {"name": name})())
        if name not in self.strategies:
            self.strategies[name] = self.app.tasks[name].start_strategy(self.app, self)

    def _tell_of_retry(self, error: Exception, interval: float) -> None:
        log.warning("Redis does not answer, trying again in %.1f s: %s", interval, error)


def _as_text(value: Any) -> str:
    """What JSON has no word for, as it can be read."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


class FollowFunctions(bootsteps.StartStopStep):
    """Consumes what is deployed, at each start: a reconnect makes a new consumer."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: FunctionConsumer) -> None:
        """Take the functions known so far; later ones are posted to the hub."""
        parent.app.on_consumer(parent)


class HoldLease(bootsteps.StartStopStep):
    """Shows the lease what this channel holds: without, a short visibility timeout is unsafe."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: FunctionConsumer) -> None:
        """Runs anew after each reconnect, with the new channel."""
        parent.app.lease.qos = parent.task_consumer.channel.qos
