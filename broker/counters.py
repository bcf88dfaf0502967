"""What can be counted about a function: waiting, running, done, failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis import Redis

from broker import keys


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """One function's numbers at this moment."""

    function: str
    queued: int
    running: int
    retrying: int
    succeeded: int
    failed: int
    dead: int
    cold_starts: int
    #: Seconds the oldest waiting invocation has waited; 0 when none waits.
    oldest: float
    last_error: str


def overview(redis: Redis, functions: list[str]) -> list[FunctionStatus]:
    """The numbers of these functions, in their order."""
    running = _running(redis)
    retrying = _retrying(redis)
    now = _now(redis)
    pipeline = redis.pipeline(transaction=False)
    for function in functions:
        pipeline.zcard(keys.queued(function))
        pipeline.zrange(keys.queued(function), 0, 0, withscores=True)
        pipeline.hgetall(keys.counters(function))
    answers = pipeline.execute()
    return [
        _status(function, answers[at * 3 : at * 3 + 3], now, running, retrying)
        for at, function in enumerate(functions)
    ]


def known_queues(redis: Redis) -> list[str]:
    """Functions that ever had work queued, deployed or not."""
    members: Any = redis.smembers(keys.QUEUES)
    return sorted(each.decode() for each in members)


def workers_alive(redis: Redis) -> list[str]:
    """Names of the workers that live."""
    members: Any = redis.smembers(keys.WORKERS)
    ids = sorted(each.decode() for each in members)
    return [id.partition(":")[0] for id in ids if redis.exists(keys.worker_alive(id))]


def _status(
    function: str, found: list[Any], now: float, running: Counter[str], retrying: Counter[str]
) -> FunctionStatus:
    queued, oldest, counted = found
    return FunctionStatus(
        function=function,
        queued=queued,
        running=running[function],
        retrying=retrying[function],
        succeeded=int(counted.get(b"succeeded", 0)),
        failed=int(counted.get(b"failed", 0)),
        dead=int(counted.get(b"dead", 0)),
        cold_starts=int(counted.get(b"cold_starts", 0)),
        oldest=max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0,
        last_error=counted.get(b"last_error", b"").decode("utf-8", "replace"),
    )


def _running(redis: Redis) -> Counter[str]:
    members: Any = redis.smembers(keys.WORKERS)
    count: Counter[str] = Counter()
    for worker in members:
        held: Any = redis.hvals(keys.running(worker.decode()))
        count.update(each.decode() for each in held)
    return count


def _retrying(redis: Redis) -> Counter[str]:
    """Delayed invocations by function; of a very long list, the first ten thousand."""
    ids: Any = redis.zrange(keys.DELAYED, 0, 9_999)
    pipeline = redis.pipeline(transaction=False)
    for id in ids:
        pipeline.hget(keys.invocation(id.decode()), "function")
    return Counter(each.decode() for each in pipeline.execute() if each)


def _now(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6)
