"""An invocation: one delivery of one event to one function, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: AWS Lambda's quotas, bytes.
MAX_SYNC_PAYLOAD = 6 * 1024 * 1024
MAX_ASYNC_PAYLOAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Invocation:
    """One attempt at an invocation, as a worker takes it from the ledger."""

    id: str
    function: str
    #: The event, JSON in UTF-8, handed to the runtime as it is.
    event: bytes
    #: Fencing token: grows with every attempt; a late attempt cannot close a newer one.
    attempt: int
    #: Function errors so far; decides about retries.
    failures: int = 0
    #: Whether somebody waits for the response (`invoke(wait=True)`).
    reply: bool = False
    #: Seconds since it entered the ledger, when it was taken from there.
    age: float = 0.0
    #: Records of a batch; 0: it is none.
    records: int = 0
    #: The invocations that it comes from, each `function id`, the last of them last.
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Throttled:
    """What a worker gets instead of an invocation while as many as are reserved run already."""

    id: str
    function: str


@dataclass(frozen=True, slots=True)
class FunctionFault:
    """A function error as AWS words it: what `errorType`, `errorMessage`, `stackTrace` hold."""

    type: str
    message: str
    trace: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """In one line."""
        return f"{self.type}: {self.message}"[:500]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended: the response, or the fault; and what it cost."""

    invocation: Invocation
    #: The handler's response, JSON in UTF-8; None when there is a fault.
    response: bytes | None
    fault: FunctionFault | None
    #: Milliseconds in the handler.
    duration_ms: float
    #: Peak resident size of the environment's process tree, megabytes.
    max_memory_mb: int
    #: Milliseconds of initialisation, on a cold start only.
    init_ms: float | None = None
    version: int = 0
    environment: str = ""
    #: START, what the function printed, END, REPORT.
    log: tuple[str, ...] = field(default=())

    @property
    def status(self) -> Literal["succeeded", "failed"]:
        """Celery's word for it."""
        return "succeeded" if self.fault is None else "failed"
