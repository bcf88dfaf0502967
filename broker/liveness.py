"""Who lives: an intake or a worker renews a key each second, and without it is taken for dead.

An id is `<host>:<start>`: one that was started again is another, and what its predecessor held
counts as lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from redis import Redis

from broker import keys


def make_id(name: str) -> str:
    """An id for what has just been started on the host of this name."""
    return f"{name}:{secrets.token_hex(4)}"


def intakes_alive(redis: Redis) -> list[str]:
    """Names of the hosts of the intakes that live."""
    return _names(redis, keys.INTAKES, keys.intake_alive)


def workers_alive(redis: Redis) -> list[str]:
    """Names of the workers that live."""
    return _names(redis, keys.WORKERS, keys.worker_alive)


def dead_intakes(redis: Redis) -> list[str]:
    """Ids of those that may have left events behind."""
    return [id for id, lives in _look(redis, keys.INTAKES, keys.intake_alive) if not lives]


def dead_workers(redis: Redis) -> list[str]:
    """Ids of those that may have left invocations behind."""
    return [id for id, lives in _look(redis, keys.WORKERS, keys.worker_alive) if not lives]


def _names(redis: Redis, members: str, key: Callable[[str], str]) -> list[str]:
    return [id.partition(":")[0] for id, lives in _look(redis, members, key) if lives]


def _look(redis: Redis, members: str, key: Callable[[str], str]) -> list[tuple[str, bool]]:
    """Each member, in order, and whether it lives."""
    found: Any = redis.smembers(members)
    ids = sorted(each.decode() for each in found)
    pipeline = redis.pipeline(transaction=False)
    for id in ids:
        pipeline.exists(key(id))
    return [(id, bool(lives)) for id, lives in zip(ids, pipeline.execute(), strict=True)]
