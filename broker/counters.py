"""What can be counted about a function: waiting, running, done, failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis

from broker import keys
from broker.clock import milliseconds
from broker.fleets import FleetReport, fleets


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """One function's numbers at this moment."""

    function: str
    #: In line, or gathering to a batch, or in a worker's hands while its function is at a limit.
    queued: int
    running: int
    #: Environments that are idle.
    warm: int
    retrying: int
    succeeded: int
    failed: int
    dead: int
    cold_starts: int
    #: Invocations that had to wait for a limit.
    throttled: int
    #: Records of invocations that no destination took.
    destination_failures: int
    #: Events that its filters refused.
    filtered: int
    #: Writes that came after a newer one of their key.
    superseded: int
    #: Invocations at the end of a chain without end.
    recursive_dropped: int
    #: Why it does not grow; empty: nothing is in the way.
    limit: str
    #: Seconds the oldest waiting invocation has waited; 0 when none waits.
    oldest: float
    last_error: str


def overview(redis: Redis, functions: list[str]) -> list[FunctionStatus]:
    """The numbers of these functions, in their order."""
    at_workers, now = fleets(redis), milliseconds(redis) / 1000
    retrying, gathering = _retrying(redis), _gathering(redis, functions)
    pipeline = redis.pipeline(transaction=False)
    for function in functions:
        pipeline.zcard(keys.queued(function))
        pipeline.zrange(keys.queued(function), 0, 0, withscores=True)
        pipeline.scard(keys.concurrent(function))
        pipeline.hgetall(keys.counters(function))
    answers = pipeline.execute()
    found = [
        _status(answers[at * 4 : at * 4 + 4], now, retrying, _fleet(function, at_workers))
        for at, function in enumerate(functions)
    ]
    return [replace(each, queued=each.queued + gathering[each.function]) for each in found]


def known_queues(redis: Redis) -> list[str]:
    """Functions that ever had work queued, deployed or not."""
    members: Any = redis.smembers(keys.QUEUES)
    return sorted(each.decode() for each in members)


def _fleet(function: str, at_workers: dict[str, FleetReport]) -> FleetReport:
    return at_workers.get(function) or FleetReport(function, 0, 0, 0, 0, "")


def _status(
    found: list[Any], now: float, retrying: Counter[str], fleet: FleetReport
) -> FunctionStatus:
    queued, oldest, held, counted = found
    function = fleet.function
    waiting = min(fleet.waiting, held)
    return FunctionStatus(
        function=function,
        queued=queued + waiting,
        running=held - waiting,
        warm=fleet.idle,
        throttled=int(counted.get(b"throttled", 0)),
        destination_failures=int(counted.get(b"destination_failures", 0)),
        filtered=int(counted.get(b"filtered", 0)),
        superseded=int(counted.get(b"superseded", 0)),
        recursive_dropped=int(counted.get(b"recursive_dropped", 0)),
        limit=fleet.limit,
        retrying=retrying[function],
        succeeded=int(counted.get(b"succeeded", 0)),
        failed=int(counted.get(b"failed", 0)),
        dead=int(counted.get(b"dead", 0)),
        cold_starts=int(counted.get(b"cold_starts", 0)),
        oldest=max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0,
        last_error=counted.get(b"last_error", b"").decode("utf-8", "replace"),
    )


def _retrying(redis: Redis) -> Counter[str]:
    """Delayed invocations by function; of a very long list, the first ten thousand."""
    ids: Any = redis.zrange(keys.DELAYED, 0, 9_999)
    pipeline = redis.pipeline(transaction=False)
    for id in ids:
        pipeline.hget(keys.invocation(id.decode()), "function")
    return Counter(each.decode() for each in pipeline.execute() if each)


def _gathering(redis: Redis, functions: list[str]) -> Counter[str]:
    """Records by function whose batch takes more."""
    pipeline = redis.pipeline(transaction=False)
    for function in functions:
        pipeline.get(keys.gathering(function))
    opened = {name: id for name, id in zip(functions, pipeline.execute(), strict=True) if id}
    for id in opened.values():
        pipeline.llen(keys.batch(id.decode()))
    return Counter(dict(zip(opened, pipeline.execute(), strict=True)))
