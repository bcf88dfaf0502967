"""The faults: each a name, what it does, and how often it comes among all.

A fault is done in a thread of its own and ends by itself; several may be under way at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil
from redis.exceptions import RedisError

from chaos.world import World

#: Seconds for which a process is stopped: less and more than a lease lasts (5 s).
SHORT, LONG = 1.0, 9.0
#: Seconds for which Redis cannot be started.
AWAY: Final = 28.0
#: Seconds a clock is wrong by: Celery's transport takes a message for lost after 15.
CLOCK: Final = (-40, 40)


@dataclass(slots=True)
class Fault:
    """One that happened; moments are `time.monotonic()`."""

    kind: str
    began: float
    ended: float = float("inf")

    def covers(self, moment: float, after: float = 0.0) -> bool:
        """Whether it was under way at a moment, or over for no longer than so many seconds."""
        return self.began <= moment <= self.ended + after


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    name: str
    do: Callable[[World], None]
    #: Workers die of it: it begins when all is well, and nothing else follows for a while.
    is_measured: bool = False
    #: How often it comes in one round of all kinds.
    times: int = 1

    def happen(self, world: World, fault: Fault) -> None:
        """Do it; what it was meant for may have gone by itself."""
        try:
            with suppress(psutil.NoSuchProcess, RedisError, OSError):
                self.do(world)
        finally:
            fault.ended = time.monotonic()


def kinds() -> list[Kind]:
    """All of them."""
    return [
        Kind("worker killed", _kill("worker"), is_measured=True, times=2),
        Kind("worker stopped for 1-9 s", _stop("worker"), times=2),
        Kind("intake killed", _kill("intake"), times=2),
        Kind("intake stopped for 1-9 s", _stop("intake")),
        Kind("zygote killed", lambda w: _one(w, w.zygotes()).kill()),
        Kind("zygote stopped for 1-9 s", lambda w: _hold(w, w.zygotes())),
        Kind("half of the environments killed", _kill_environments, times=2),
        Kind("environment stopped for 1-9 s", lambda w: _hold(w, w.environments())),
        Kind("Redis connections cut", _cut_connections, times=2),
        Kind("Redis restarted", lambda w: _one(w, w.parts("redis")).terminate()),
        Kind("Redis killed", _kill("redis")),
        Kind("Redis frozen for 7 s", lambda w: w.hold(_one(w, w.parts("redis")), 7.0)),
        Kind("Redis away for 30 s", _take_redis_away),
        Kind("MinIO restarted", lambda w: _one(w, w.parts("minio")).terminate()),
        Kind("MinIO killed", _kill("minio")),
        Kind("second host's clock wrong by 40 s", _step_clock),
    ]


def full_disk() -> Kind:
    """For a store whose events wait on a small disk while Redis is away."""
    return Kind("disk full under MinIO's queue", _take_redis_away)


def _one(world: World, processes: Sequence[psutil.Process]) -> psutil.Process:
    if not processes:
        raise psutil.NoSuchProcess(0)
    return world.dice.choice(processes)


def _kill(part: str) -> Callable[[World], None]:
    return lambda world: _one(world, world.parts(part)).kill()


def _stop(part: str) -> Callable[[World], None]:
    return lambda world: _hold(world, world.parts(part))


def _hold(world: World, processes: Sequence[psutil.Process]) -> None:
    world.hold(_one(world, processes), world.dice.uniform(SHORT, LONG))


def _kill_environments(world: World) -> None:
    """Most have nothing in hand: of many killed, some have."""
    for each in world.environments():
        if world.dice.random() < 1 / 2:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _cut_connections(world: World) -> None:
    """A third of all connections, those of MinIO among them."""
    with world.redis() as redis:
        for each in redis.client_list():
            if world.dice.random() < 1 / 3 and int(each["id"]) != redis.client_id():
                with suppress(RedisError):
                    redis.client_kill_filter(_id=each["id"])


def _take_redis_away(world: World) -> None:
    """End it, and let it not start; `up` then tries again within 4 s."""
    configuration = world.redis_configuration
    hidden = configuration.with_suffix(".hidden")
    configuration.rename(hidden)
    try:
        _one(world, world.parts("redis")).terminate()
        world.over.wait(AWAY)
    finally:
        hidden.rename(configuration)
    _wait_for_redis(world)


def _wait_for_redis(world: World) -> None:
    while not world.over.wait(0.1):
        with suppress(RedisError, OSError), world.redis() as redis:
            if redis.ping():
                return


def _step_clock(world: World) -> None:
    """Forward or back at once, and right again after a while."""
    world.host.clock.set(world.dice.choice(CLOCK))
    try:
        world.over.wait(20.0)
    finally:
        world.host.clock.set(0)
