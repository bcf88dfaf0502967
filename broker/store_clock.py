"""The store's clock, as Redis's shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Milliseconds after which a difference is found anew: clocks are set, and drift.
_RENEWED: Final = 60_000


class StoreClock:
    """Tells moments of the store by Redis's clock.

    An event is seen some time after its moment, never before. So the least time between both, of
    late, is the difference of the clocks and the shortest way an event can take.
    """

    def __init__(self) -> None:
        self._difference: int | None = None
        self._found = 0

    def see(self, moments: Iterable[int], now: int) -> None:
        """Events of these moments are seen now; all are milliseconds."""
        latest = max(moments, default=None)
        if latest is None:
            return
        if self._difference is None or now - self._found > _RENEWED:
            self._difference, self._found = now - latest, now
        self._difference = min(self._difference, now - latest)

    def by_redis(self, moment: int) -> int:
        """A moment of the store, by Redis's clock."""
        return moment + (self._difference or 0)
