"""Simulated processors: whoever computes gets the same part of them."""

from __future__ import annotations

import heapq
from functools import partial
from itertools import count

from benchmarks.simulation.clock import Clock, Happening

#: Seconds of computing that count as none: sums of floats end a little beside their mark.
_NOTHING = 1e-9


class Processors:
    """Processor sharing: n that compute on c cores go on at min(1, c/n) of a core's pace."""

    def __init__(self, clock: Clock, cores: int) -> None:
        self.cores = cores
        self._clock = clock
        #: Seconds that one who computed from the start has got so far.
        self._got = self._since = 0.0
        self._busy = 0.0
        self._ends: list[tuple[float, int, Happening]] = []
        self._order = count()
        self._plan = 0

    def __len__(self) -> int:
        """How many compute now."""
        return len(self._ends)

    def compute(self, seconds: float, then: Happening) -> None:
        """Compute for so many seconds of a core of one's own, then have something happen."""
        self._go_on()
        heapq.heappush(self._ends, (self._got + seconds, next(self._order), then))
        self._look_ahead()

    def busy_seconds(self) -> float:
        """Seconds in which cores had something to do, of all together, so far."""
        self._go_on()
        return self._busy

    @property
    def _pace(self) -> float:
        return min(1.0, self.cores / max(1, len(self._ends)))

    def _go_on(self) -> None:
        seconds = self._clock.now - self._since
        self._got += seconds * self._pace
        self._busy += seconds * min(self.cores, len(self._ends))
        self._since = self._clock.now

    def _look_ahead(self) -> None:
        """Wake when the next one ends, unless others come or go before."""
        self._plan += 1
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._got)
            self._clock.after(left / self._pace, partial(self._end, self._plan))

    def _end(self, plan: int) -> None:
        if plan != self._plan:
            return
        self._go_on()
        ended = []
        while self._ends and self._ends[0][0] <= self._got + _NOTHING:
            ended.append(heapq.heappop(self._ends)[2])
        self._look_ahead()
        for then in ended:
            then()
