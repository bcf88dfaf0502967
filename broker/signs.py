"""Signs that events were lost: what the store and Redis say now, against what they said before.

- The store's process has begun anew: for a moment it answers uploads before it has its rules.
- Its target has lost events: Redis was away, the queue folder was full.
- Redis has begun anew, or did not answer; its data being lost is seen by the watch.
- Fewer notifications have come to Redis than the store has told: somebody took them away.
- A bucket did not tell its writes: its rule was missing, and is mended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from broker.functions import DeployedFunctions
from broker.late_events import Functions
from broker.scripts import Script
from broker.watch_state import WatchState
from storage.configuration import Trigger, uploads
from storage.health import HealthReader, StoreHealth
from storage.rules import BucketRules
from storage.settings import StorageSettings

#: Seconds between looks at bucket rules.
RULES: Final = 9.0
#: Seconds of rest after which the store's counters, up to 10 s old, are those of now.
REST: Final = 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look sees."""

    store: StoreHealth
    #: Redis's process, as it names it.
    redis: str
    #: Notifications that have been published, those that have ever come, and unfinished work.
    published: int
    came: int
    unfinished: int

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to do."""
        return self.published == self.came and not self.unfinished


class Looking:
    """Looks at the store and Redis."""

    def __init__(self, redis: Redis, storage: StorageSettings, functions: Functions) -> None:
        self._redis = redis
        self._health = HealthReader(storage)
        self._rules = BucketRules(storage)
        self._functions = functions
        self._deployments = uploads(storage.system_bucket)
        self._deployed = DeployedFunctions(redis)
        self._known: tuple[bytes, list[Trigger]] | None = None
        self._count = Script("count")
        self._rules_at = -RULES
        self._counts = (-1, -1)
        self._resting_since = 0.0

    def look(self) -> Look:
        """The store first: what it has told by then must have come to Redis.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        store = self._health.read()
        info: Any = self._redis.info("server")
        return Look(store, str(info["run_id"]), *self._count.run(self._redis))

    def mended(self) -> list[str]:
        """Buckets whose rule was missing; looked at every now and then.

        Raises:
            StorageError: the store has no event target of ours, or did not answer.
        """
        if time.monotonic() < self._rules_at + RULES:
            return []
        found = self._rules.mend(self._triggers())
        self._rules_at = time.monotonic()
        return found

    def rests(self, look: Look) -> bool:
        """Whether nothing has come for a while, so that the counters of both can be compared."""
        counts = look.came, look.store.taken
        if counts != self._counts or look.store.queued:
            self._counts, self._resting_since = counts, time.monotonic()
        return time.monotonic() - self._resting_since > REST

    def _triggers(self) -> list[Trigger]:
        """Those of all functions, which are read only when they have changed."""
        generation = self._deployed.generation()
        if self._known is None or self._known[0] != generation:
            functions = self._functions().values()
            triggers = [trigger for each in functions for trigger in each.triggers]
            self._known = generation, [*triggers, self._deployments]
        return self._known[1]


def signs(state: WatchState, look: Look, mended: Iterable[str]) -> Iterator[str]:
    """Each in a few words."""
    if has_restarted(state, look):
        yield "the object store has begun anew"
    elif look.store.lost > state.lost:
        yield f"the object store could not tell {look.store.lost - state.lost} events"
    if look.redis != state.redis:
        yield "Redis has begun anew"
    elif gone := _gone(state, look):
        yield f"{gone} events are gone from Redis"
    for bucket in mended:
        yield f"bucket {bucket} did not tell its writes"


def has_restarted(state: WatchState, look: Look) -> bool:
    """Whether the store's process is another; its start is told to the hundredth of a second."""
    return abs(look.store.started - state.started) > 0.05


def seen(state: WatchState, look: Look, *, rests: bool) -> WatchState:
    """The state with what was seen now."""
    offset = state.offset
    if has_restarted(state, look) or look.redis != state.redis or _gone(state, look):
        offset = None
    if rests:
        offset = look.came - look.store.taken
    return state.model_copy(
        update={
            "started": look.store.started,
            "lost": look.store.lost,
            "taken": look.store.taken - look.store.queued,
            "came": look.came,
            "redis": look.redis,
            "offset": offset,
        }
    )


def _gone(state: WatchState, look: Look) -> int:
    """Notifications that must have come by now, and are not there."""
    expected = state.came
    if state.offset is not None and not has_restarted(state, look):
        expected = max(expected, state.taken + state.offset)
    return max(0, expected - look.came)
