"""A delivery: one Celery message on its way through the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from billiard.einfo import ExceptionInfo
from celery.exceptions import Retry, Terminated

from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim
from broker.message import INVOCATIONS
from workers.faults import REVOKED

Callback = Callable[..., Any]

#: Characters of a fault that go into task events.
SHOWN: Final = 10_000


class FunctionError(Exception):
    """Raised to Celery when a function failed; Flower shows its text."""


@dataclass(slots=True, eq=False)
class Delivery:
    """The invocations of one message, and Celery's callbacks for it.

    The callbacks may be called on the hub's thread only.
    """

    task_id: str
    function: str
    claims: Sequence[Claim]
    accept: Callback
    succeed: Callback
    fail: Callback
    #: Celery's hard time limit of this task, seconds.
    time_limit: float | None = None
    open: int = 0
    accepted: bool = False
    fault: FunctionFault | None = None
    retried: bool = False
    started: float = field(default_factory=time.monotonic)

    def close(self, outcome: Outcome | None, retried: bool = False) -> bool:
        """Count one of its invocations as done; returns whether it was the last."""
        self.open -= 1
        if outcome is not None and outcome.fault is not None:
            self.fault, self.retried = outcome.fault, retried
        return self.open == 0

    def reserve(self, concurrency: int | None) -> None:
        """Have its invocations claimed within the function's reserved concurrency."""
        if concurrency is not None:
            self.claims = [replace(each, reserved=concurrency) for each in self.claims]

    def timeout(self, function: float) -> float:
        """Seconds that each of its invocations has: the function's, or Celery's if that is less."""
        return min(function, self.time_limit or function)

    def tell_celery(self) -> None:
        """Report the end: the message is acknowledged, Flower's state set. Hub's thread only."""
        runtime = time.monotonic() - self.started
        if self.fault is None:
            self.succeed((0, None, runtime))
        else:
            # `return_ok`: the function's log has it, the worker's need not.
            self.fail(_failure(self.fault, self.retried), return_ok=True)


@dataclass(slots=True, eq=False)
class Run:
    """One invocation in a worker's hands."""

    invocation: Invocation
    delivery: Delivery
    #: Whether it has had to wait for a limit of this host.
    throttled: bool = False
    taken: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since it entered the ledger."""
        return self.invocation.age + time.monotonic() - self.taken


def delivery(args: Sequence[Any], options: dict[str, Any]) -> Delivery:
    """Read what Celery hands to a pool: (task, id, request, body, content type, encoding)."""
    function, task_id, request = args[0], args[1], args[2]
    ids = request.get(INVOCATIONS)
    if ids:
        claims = [Claim(str(id), function) for id in ids]
    else:
        claims = [Claim(task_id, function, _event(request))]
    return Delivery(
        task_id=task_id,
        function=function,
        claims=claims,
        accept=options["accept_callback"],
        succeed=options["callback"],
        fail=options["error_callback"],
        time_limit=options.get("timeout"),
        open=len(claims),
    )


def revoked(request: Any) -> Delivery:
    """The invocation that was revoked, whose message Celery has acknowledged already.

    Others of the same message were not meant: the reaper finds that theirs is lost.
    """
    task_id, function = str(request.id), str(request.task)
    claims = [Claim(task_id, function)]
    return Delivery(task_id, function, claims, _nothing, _nothing, _nothing, open=1)


def _nothing(*args: Any, **options: Any) -> None:
    """Nobody at Celery waits for it."""


def _event(request: dict[str, Any]) -> bytes:
    """The event of a plain Celery client's `send_task(name, args=[event])`."""
    arguments = request.get("args") or []
    return orjson.dumps(arguments[0] if arguments else request.get("kwargs") or {})


def _failure(fault: FunctionFault, retried: bool) -> ExceptionInfo:
    """A fault as Flower shows it: type and message, and the trace of the function's own code.

    What was revoked has been told as that: Celery passes over the end of what was terminated.
    """
    error = FunctionError(f"{fault.type}: {fault.message}"[:SHOWN])
    told: Exception = Retry(str(error), exc=error) if retried else error
    if fault == REVOKED:
        told = Terminated(fault.message)
    try:
        raise told
    except (Retry, FunctionError, Terminated):
        info = ExceptionInfo()
    info.exception = told
    info.traceback = "\n".join([*fault.trace, str(error)])[:SHOWN]
    return info
