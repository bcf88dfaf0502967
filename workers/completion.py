"""Completion: how the end of an attempt reaches the ledger first, and then Celery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from broker import keys
from broker.invocation import FunctionFault, Outcome
from broker.ledger import Closing
from storage.configuration import FunctionConfiguration
from workers.bookkeeper import Bookkeeper
from workers.delivery import Delivery, Run
from workers.faults import RETURNED, REVOKED

log = logging.getLogger("bucketwheel.supervisor")

#: Retries of a deployment that the platform failed; a bad package is not tried again.
DEPLOY_RETRIES: Final = 2

#: Has something run on Celery's hub.
Post = Callable[[Callable[[], None]], None]


class Completion:
    """Closes attempts, and acknowledges a message once all its invocations are closed."""

    def __init__(self, bookkeeper: Bookkeeper, post: Post) -> None:
        self._bookkeeper = bookkeeper
        self._post = post
        #: The deployed functions, which say how often a failed invocation is tried again.
        self.functions: Mapping[str, FunctionConfiguration] = {}

    def close(self, run: Run, outcome: Outcome) -> None:
        """Close an attempt; an invocation that was not run (`RETURNED`) goes back in line."""
        retries = 0 if outcome.fault == REVOKED else self._retries(run.invocation.function)
        returned = outcome.fault is RETURNED
        # Whoever waits for the response is told of the failure instead.
        retried = returned or (not run.invocation.reply and run.invocation.failures < retries)
        closing = Closing(outcome, retries, returned, run.throttled)
        self._bookkeeper.close(closing, partial(self._closed, run, outcome, retried))

    def fail(self, run: Run, fault: FunctionFault, log_lines: tuple[str, ...] = ()) -> None:
        """End an invocation that no handler has seen."""
        lines = (*log_lines, f"{fault.type}: {fault.message}")
        self.close(run, Outcome(run.invocation, None, fault, 0.0, 0, log=lines))

    def give_back(self, run: Run) -> None:
        """Put an invocation back in line, not run."""
        self.close(run, Outcome(run.invocation, None, RETURNED, 0.0, 0))

    def count(
        self, delivery: Delivery, outcome: Outcome | None = None, retried: bool = False
    ) -> None:
        """Count one of a message's invocations as done; the last has Celery told."""
        if delivery.close(outcome, retried):
            self._post(delivery.tell_celery)

    def _retries(self, name: str) -> int:
        if name == keys.DEPLOY:
            return DEPLOY_RETRIES
        function = self.functions.get(name)
        return function.maximum_retry_attempts if function else 0

    def _closed(self, run: Run, outcome: Outcome, retried: bool, current: bool) -> None:
        if not current:
            log.warning(
                "%s %s: its late attempt %d was ignored",
                run.invocation.function,
                run.invocation.id,
                run.invocation.attempt,
            )
        self.count(run.delivery, outcome, retried)
