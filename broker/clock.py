"""Redis's clock, the only one that all hosts share."""

from __future__ import annotations

from typing import Any

from redis import Redis


def milliseconds(redis: Redis) -> int:
    """Now, since 1970."""
    told: Any = redis.time()
    return as_milliseconds(told)


def as_milliseconds(told: tuple[int, int]) -> int:
    """What Redis's TIME answers: seconds and microseconds."""
    seconds, microseconds = told
    return int(seconds) * 1000 + int(microseconds) // 1000
