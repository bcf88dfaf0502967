"""What the watch knows: the watermark, what it saw last, what it suspects, its last sweep."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from redis import Redis

from broker import keys


class WatchState(BaseModel):
    """Kept in Redis, so that whoever watches next goes on from there. Moments are the store's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: What was written before has been handed over, all of it.
    watermark: datetime
    #: What was written before has been handled to its end; goes on whenever nothing is left to do.
    settled: datetime
    #: Since when all that was handled is remembered.
    remembered: datetime
    #: Since when the store's process runs, and what its event target has lost and taken since.
    started: float
    lost: int
    taken: int
    #: Notifications that had come to Redis by the last look, and how many more these are than the
    #: store's target has taken; None until both have rested for a while.
    came: int
    offset: int | None = None
    #: Redis's process, as it names it.
    redis: str
    #: Why a sweep is due; empty while nothing is suspected.
    pending: str = ""
    #: The last sweep: when it ended, why it was, keys it saw, invocations that had been lost.
    swept_at: datetime | None = None
    why: str = ""
    seen: int = 0
    found: int = 0

    @classmethod
    def read(cls, redis: Redis) -> Self | None:
        """The state as it is; None on a Redis that knows of none."""
        found: Any = redis.hgetall(keys.WATCH)
        if not found:
            return None
        return cls.model_validate({name.decode(): text.decode() for name, text in found.items()})

    def save(self, redis: Redis) -> None:
        """Put it in the place of the state before."""
        fields: Any = self.model_dump(mode="json", exclude_none=True)
        pipeline = redis.pipeline()
        pipeline.delete(keys.WATCH)
        pipeline.hset(keys.WATCH, mapping=fields)
        pipeline.execute()

    def suspect(self, why: str) -> Self:
        """The same with one reason more for a sweep."""
        if why in self.pending:
            return self
        pending = f"{self.pending}; {why}" if self.pending else why
        return self.model_copy(update={"pending": pending[:500]})
