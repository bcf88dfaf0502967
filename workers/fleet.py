"""A fleet: the environments of one function on this host, and what waits for one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.configuration import FunctionConfiguration
from workers.delivery import Run
from workers.environment import Environment


@dataclass(slots=True)
class Fleet:
    """Environments in their three conditions; the fourth, gone, is not kept."""

    function: str
    #: The version to run; None when the function is not deployed.
    configuration: FunctionConfiguration | None = None
    waiting: deque[Run] = field(default_factory=deque)
    #: Being prepared or initialised.
    starting: int = 0
    #: The most recently used is last, and is used first: the others may cool and be reaped.
    idle: list[Environment] = field(default_factory=list)
    busy: dict[Environment, Run] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Environments alive or on their way."""
        return self.starting + len(self.idle) + len(self.busy)

    @property
    def working(self) -> int:
        """Environments that have work, or come for some."""
        return self.starting + len(self.busy)

    @property
    def wants(self) -> int:
        """Environments more that would find work at once."""
        return max(0, len(self.waiting) - self.starting)

    def is_current(self, environment: Environment) -> bool:
        """Whether an environment runs the version that is deployed now."""
        current = self.configuration
        return current is not None and environment.spec.configuration.version == current.version

    def take_idle_before(self, moment: float) -> list[Environment]:
        """Take away those that have been idle since before a monotonic moment."""
        cold = [each for each in self.idle if each.last_used < moment]
        self.idle = [each for each in self.idle if each.last_used >= moment]
        return cold

    def info(self) -> dict[str, int]:
        """Its numbers, for people."""
        return {
            "busy": len(self.busy),
            "idle": len(self.idle),
            "starting": self.starting,
            "waiting": len(self.waiting),
        }


def has_room(fleets: Iterable[Fleet], limit: int, starts: int) -> bool:
    """Whether one more environment may start among these: `starts` at once, `limit` at work."""
    starting = working = 0
    for each in fleets:
        starting += each.starting
        working += each.working
    return starting < starts and working < limit


def to_give_way(fleets: Iterable[Fleet], limit: int) -> Environment | None:
    """The idle environment that one more must replace: the least recently used, at the limit."""
    known = list(fleets)
    if sum(each.size for each in known) < limit:
        return None
    idle = [environment for each in known for environment in each.idle]
    return min(idle, key=lambda each: each.last_used, default=None)


def starves_another(fleet: Fleet, fleets: Iterable[Fleet], limit: int) -> bool:
    """Whether this one holds several environments while another waits without any, at the limit."""
    known = list(fleets)
    if fleet.size < 2 or sum(each.working for each in known) + 1 < limit:
        return False
    return any(each.waiting and each.size == 0 for each in known)
