"""Simulated time: what is to happen, in its order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Happening = Callable[[], object]


class Clock:
    """Seconds since the simulation's start; stands still while something happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Happening]] = []
        self._order = count()

    def __call__(self) -> float:
        """The moment, as `Fleets` asks for it."""
        return self.now

    def after(self, seconds: float, happening: Happening) -> None:
        """Have something happen so much later; what is due at once happens as it was asked for."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), happening))

    def step(self) -> bool:
        """Have the next thing happen; False when nothing is to happen any more."""
        if not self._due:
            return False
        self.now, _, happening = heapq.heappop(self._due)
        happening()
        return True
