"""Completion: how the end of an attempt reaches the ledger first, and then Celery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from broker import keys
from broker.batches import NAMED, failed_records
from broker.errors import InvalidBatchResponse
from broker.event_age import EVENT_AGE_EXCEEDED
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Closing
from storage.configuration import FunctionConfiguration
from workers.bookkeeper import Bookkeeper
from workers.delivery import Delivery, Run
from workers.faults import RETURNED, REVOKED, bad_batch_response

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
        outcome, failed = self._judged(outcome)
        retries = 0 if _is_final(outcome.fault) else self._retries(run.invocation.function)
        returned = outcome.fault is RETURNED
        # Whoever waits for the response is told of the failure instead.
        retried = returned or (not run.invocation.reply and run.invocation.failures < retries)
        function = self.functions.get(run.invocation.function)
        closing = Closing(
            outcome,
            retries,
            returned,
            run.throttled,
            failed,
            on_success=function.on_success if function else None,
            on_failure=function.on_failure if function else None,
        )
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

    def _judged(self, outcome: Outcome) -> tuple[Outcome, tuple[str, ...]]:
        """Which records the response of a batch's function names as failed.

        Of one record alone that is a fault, and so is a response that names what it must not.
        """
        invocation, response = outcome.invocation, outcome.response
        if response is None or invocation.reply or not self._is_batched(invocation):
            return outcome, ()
        try:
            failed = failed_records(invocation.event, response)
        except InvalidBatchResponse as error:
            return replace(outcome, response=None, fault=bad_batch_response(str(error))), ()
        if failed and not invocation.records:
            return replace(outcome, response=None, fault=NAMED), ()
        return outcome, failed

    def _is_batched(self, invocation: Invocation) -> bool:
        function = self.functions.get(invocation.function)
        return invocation.records > 0 or (function is not None and function.batch_size > 1)

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


def _is_final(fault: FunctionFault | None) -> bool:
    """Whether there is no other try, whatever the function's configuration says."""
    return fault is not None and (fault == REVOKED or fault.type == EVENT_AGE_EXCEEDED)
