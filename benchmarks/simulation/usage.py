"""What work wants of simulated processors, as `workers.cpu` would measure it of real ones."""

from __future__ import annotations

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.processors import Processors
from workers.cpu import LEAST
from workers.scaling import FADING


class Usage:
    """Of one function: seconds with an invocation, and in which that computed or waited to.

    Older looks count less and less.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy = self._computing = 0
        self._since = self._worked = self._wanted = 0.0

    def count(self, busy: int = 0, computing: int = 0) -> None:
        """So many more invocations, and of them so many more that compute."""
        self._go_on()
        self._busy += busy
        self._computing += computing

    def look(self) -> float | None:
        """Processors that one invocation wants on average; None: there was too little work."""
        self._go_on()
        wanted = self._wanted / self._worked if self._worked >= LEAST else None
        self._worked *= FADING
        self._wanted *= FADING
        return wanted

    def _go_on(self) -> None:
        seconds = self._clock.now - self._since
        self._worked += self._busy * seconds
        self._wanted += self._computing * seconds
        self._since = self._clock.now


class Idleness:
    """Of a host's processors: the part of the time since the last look without work."""

    def __init__(self, clock: Clock, processors: Processors) -> None:
        self._clock, self._processors = clock, processors
        self._since = self._busy = 0.0

    def look(self) -> float:
        """The part, 0 to 1."""
        seconds, busy = self._clock.now - self._since, self._processors.busy_seconds()
        part = 1 - (busy - self._busy) / (seconds * self._processors.cores)
        self._since, self._busy = self._clock.now, busy
        return part
