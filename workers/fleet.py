"""A fleet: the environments of one function on this host, and what waits for one of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from storage.configuration import FunctionConfiguration
from workers.delivery import Run
from workers.environment import Environment


@dataclass(slots=True)
class Fleet:
    """Environments in their three conditions; the fourth, gone, is not kept."""

    function: str
    #: The version to run; None until the deployed functions are known.
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
