"""The memory of what has been handled: invocation ids, in sets by the time of their entry.

It is what makes every telling of one event run once: the event, the event told again, the object
found by a sweep, in whatever order they come. Events look into the newest two sets only; a sweep
looks into all. A set lives until no sweep can come upon its objects any more, that is, until the
watch's watermark has passed it; at least two windows, at most seven days.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from redis import Redis

from broker import keys
from broker.clock import milliseconds
from broker.settings import BrokerSettings

#: Seconds after which a set is gone in any case, as the scripts have it.
REMEMBERED: Final = 604_800
#: Slots before a moment that are looked into as well: clocks of store and Redis may differ.
_SLACK: Final = 2


class Memory:
    """What has been handled, as far back as it is remembered."""

    def __init__(self, redis: Redis, settings: BrokerSettings) -> None:
        self._redis = redis
        self._window = settings.duplicate_window

    def sets(self, since: datetime) -> list[str]:
        """Keys of the sets there are that may hold what was written since then."""
        last = self._slot(milliseconds(self._redis) / 1000)
        first = max(self._slot(since.timestamp()) - _SLACK, last - REMEMBERED // self._window)
        found = [keys.seen(slot) for slot in range(first, last + 1)]
        pipeline = self._redis.pipeline(transaction=False)
        for each in found:
            pipeline.exists(each)
        return [each for each, exists in zip(found, pipeline.execute(), strict=True) if exists]

    def unknown(self, ids: Sequence[str], sets: Sequence[str]) -> set[str]:
        """Those of these invocations that are in none of the sets."""
        if not ids or not sets:
            return set(ids)
        pipeline = self._redis.pipeline(transaction=False)
        for each in sets:
            pipeline.smismember(each, list(ids))
        found = zip(*pipeline.execute(), strict=True)
        return {id for id, known in zip(ids, found, strict=True) if not any(known)}

    def forget(self, since: datetime, before: datetime) -> datetime:
        """Remove the sets between these moments; returns since when all is remembered now.

        The sets that events look into stay, whatever `before` is.
        """
        newest = self._slot(milliseconds(self._redis) / 1000) - 1
        end = min(self._slot(before.timestamp()) - _SLACK, newest)
        first = max(self._slot(since.timestamp()), end - REMEMBERED // self._window)
        if end <= first:
            return since
        self._redis.unlink(*(keys.seen(slot) for slot in range(first, end)))
        return datetime.fromtimestamp(end * self._window, before.tzinfo)

    def recent(self) -> int:
        """How many have been handled in the newest two slots."""
        last = self._slot(milliseconds(self._redis) / 1000)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.scard(keys.seen(last))
        pipeline.scard(keys.seen(last - 1))
        return sum(pipeline.execute())

    def _slot(self, seconds: float) -> int:
        return int(seconds // self._window)
