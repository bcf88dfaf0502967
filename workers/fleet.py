"""A fleet: the environments of one function on this host, and what waits for one of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from broker.fleets import FleetReport
from storage.configuration import FunctionConfiguration

#: What AWS lets one function grow by: 1,000 environments in 10 seconds.
#: https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
RAMP: Final = 1_000
RAMP_SECONDS: Final = 10.0
#: Limits by name: what may pause a function altogether, and what is no sign of a full host.
RESERVED: Final = "reserved concurrency"
STARTING: Final = "starting"
#: Invocations that wait in a worker's hands for a function with little at work, and at most.
HELD: Final = 8
MOST_HELD: Final = 64
#: Seconds of work that a worker holds: as long as it takes to get more, with some to spare.
MOMENT: Final = 0.05
#: Seconds for which a queue is left alone once the ledger has refused an invocation: doubled each
#: time until one is begun. AWS goes from 1 s to 5 min; here the most is such that what a dead host
#: held is run again within ten seconds.
BACK_OFF: Final = 0.2
MOST_BACK_OFF: Final = 3.2


class Reusable(Protocol):
    """What scaling asks of an environment."""

    #: Monotonic seconds.
    last_used: float
    #: Megabytes of its function's configuration.
    memory: int


E = TypeVar("E", bound=Reusable)
W = TypeVar("W")


class Ramp:
    """How many environments a function may still start: refilled continuously, never banked."""

    def __init__(self, now: float) -> None:
        self._left, self._since = float(RAMP), now

    def has_room(self, now: float) -> bool:
        """Whether one more may start now."""
        refill = (now - self._since) * RAMP / RAMP_SECONDS
        self._left, self._since = min(float(RAMP), self._left + refill), now
        return self._left >= 1.0

    def count(self) -> None:
        """Count a start."""
        self._left -= 1.0


@dataclass(slots=True, eq=False)
class Fleet(Generic[E, W]):
    """Environments in their three conditions; the fourth, gone, is not kept."""

    function: str
    ramp: Ramp
    #: The version to run; None when the function is not deployed.
    configuration: FunctionConfiguration | None = None
    waiting: deque[W] = field(default_factory=deque)
    #: Being prepared or initialised: how many.
    starting: int = 0
    #: The most recently used is last, and is used first: the others may cool and be reaped.
    idle: list[E] = field(default_factory=list)
    busy: dict[E, W] = field(default_factory=dict)
    #: Being initialised.
    coming: set[E] = field(default_factory=set)
    #: Between an outcome and the runtime's asking for more.
    resting: int = 0
    #: Environments that this host keeps warm, its share of the provisioned concurrency.
    provisioned: int = 0
    #: Part of its time (0 to 1 for each thread) in which an invocation wants a processor;
    #: None: not measured yet.
    runnable: float | None = None
    #: Invocations taken from the queue that the ledger has not answered for yet.
    claimed: int = 0
    #: Monotonic moment until when the ledger is not asked for more, and how long that was.
    throttled_until: float = 0.0
    back_off: float = 0.0
    #: Whether its queue is left alone, so that other workers take what this one cannot run.
    at_rest: bool = False
    #: What an invocation takes, of late; 0: nothing has ended yet.
    seconds: float = 0.0
    #: Monotonic moment when something that waited was last taken.
    served: float = 0.0
    #: Why its last waiting invocation could not be served; empty: nothing is in the way.
    limit: str = ""

    @property
    def size(self) -> int:
        """Environments alive or on their way."""
        return self.starting + len(self.idle) + len(self.busy) + self.resting

    @property
    def working(self) -> int:
        """Environments that have work, or come for some."""
        return self.starting + len(self.busy)

    @property
    def queue(self) -> int:
        """Invocations in this worker's hands that no environment has."""
        return self.claimed + len(self.waiting)

    @property
    def wants(self) -> bool:
        """Whether one environment more would find work, or is to be kept warm."""
        coming = self.starting + self.resting
        return len(self.waiting) > coming or self.size < self.provisioned

    @property
    def memory(self) -> int:
        """Megabytes of one environment."""
        return self.configuration.memory if self.configuration else 0

    @property
    def reserved(self) -> int | None:
        """Its reserved concurrency."""
        return self.configuration.reserved_concurrency if self.configuration else None

    @property
    def spare(self) -> list[E]:
        """Idle environments that are not to be kept warm, the least recently used first."""
        if not self.idle:
            return []
        beyond = max(0, self.size - self.provisioned)
        return self.idle[:beyond]

    def took(self, seconds: float) -> None:
        """An invocation has taken so long."""
        self.seconds = (3 * self.seconds + seconds) / 4 if self.seconds else seconds

    def refused(self, now: float) -> None:
        """The ledger has refused an invocation, or several at once: as many run as are reserved."""
        if now >= self.throttled_until:
            self.back_off = min(2 * self.back_off or BACK_OFF, MOST_BACK_OFF)
            self.throttled_until = now + self.back_off

    def rest(self, now: float) -> bool:
        """Decide anew whether its queue is left alone; returns whether that has changed."""
        before, self.at_rest = self.at_rest, self._is_full() or now < self.throttled_until
        return before != self.at_rest

    @property
    def _is_reserved_full(self) -> bool:
        """Whether as many as are reserved are in this worker's hands."""
        return self.reserved is not None and self.queue + len(self.busy) >= self.reserved

    def _is_full(self) -> bool:
        """Whether it has as much as it can use; resumed only when half of that is gone."""
        if self._is_reserved_full:
            return True
        return self.queue >= (self._most // 2 if self.at_rest else self._most)

    @property
    def _most(self) -> int:
        """Invocations that may wait here: a moment's work; and more while it grows, to grow by."""
        moment = int(self.working * MOMENT / self.seconds) if self.seconds else 0
        growing = 2 * self.working if self.limit in ("", STARTING) else 0
        return max(HELD, min(moment, MOST_HELD), growing)

    def info(self) -> dict[str, Any]:
        """Its numbers, for people."""
        return {
            "busy": len(self.busy),
            "idle": len(self.idle),
            "starting": self.starting,
            "waiting": len(self.waiting),
            "runnable": None if self.runnable is None else round(self.runnable, 2),
            "limit": self.limit,
        }

    def report(self) -> FleetReport:
        """Its numbers, for `bucketwheel status`."""
        return FleetReport(
            self.function,
            len(self.busy),
            len(self.idle) + self.resting,
            self.starting,
            self.queue,
            RESERVED if self._is_reserved_full else self.limit,
        )
