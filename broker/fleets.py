"""What workers tell of their environments, each second: for `bucketwheel status`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis import Redis

from broker import keys

#: Seconds after which what a silent worker has told is gone.
EXPIRY: Final = 5
#: Field of the host itself: no function has an empty name.
_HOST: Final = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """What a worker's host can give, and has given."""

    #: Environments at work at once, and how many are.
    limit: int
    working: int
    #: Megabytes.
    memory: int
    memory_given: int
    cores: int
    #: Processes that want a processor, as far as measured.
    runnable: float
    #: What keeps functions apart, and what holds their limits, in a sentence each.
    isolation: str
    limits: str


@dataclass(frozen=True, slots=True)
class FleetReport:
    """One function's environments on one host."""

    function: str
    busy: int
    idle: int
    starting: int
    waiting: int
    #: Why it does not grow; empty: nothing is in the way.
    limit: str


def tell(redis: Redis, worker: str, host: HostReport, fleets: Iterable[FleetReport]) -> None:
    """Replace what a worker has told."""
    key = keys.fleets(worker)
    told: Any = {_HOST: orjson.dumps(host)}
    told |= {each.function: orjson.dumps(each) for each in fleets}
    pipeline = redis.pipeline()
    pipeline.delete(key)
    pipeline.hset(key, mapping=told)
    pipeline.expire(key, EXPIRY)
    pipeline.execute()


def hosts(redis: Redis) -> dict[str, HostReport]:
    """What each worker that lives tells of its host, by the worker's id."""
    found: dict[str, Any] = {
        worker: redis.hget(keys.fleets(worker), _HOST) for worker in _workers(redis)
    }
    return {id: HostReport(**orjson.loads(told)) for id, told in found.items() if told}


def fleets(redis: Redis) -> dict[str, FleetReport]:
    """Each function's environments on all hosts together."""
    total: dict[str, FleetReport] = {}
    for worker in _workers(redis):
        told: Any = redis.hgetall(keys.fleets(worker))
        for name, text in told.items():
            if name != _HOST.encode():
                _add(total, FleetReport(**orjson.loads(text)))
    return total


def _add(total: dict[str, FleetReport], more: FleetReport) -> None:
    known = total.get(more.function)
    if known is None:
        total[more.function] = more
        return
    total[more.function] = FleetReport(
        more.function,
        known.busy + more.busy,
        known.idle + more.idle,
        known.starting + more.starting,
        known.waiting + more.waiting,
        ", ".join(sorted({each for each in (known.limit, more.limit) if each})),
    )


def _workers(redis: Redis) -> list[str]:
    members: Any = redis.smembers(keys.WORKERS)
    return sorted(each.decode() for each in members)
