"""What is to be run: functions, their invocations, and when these come."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import inf
from typing import Final

from storage.configuration import FunctionConfiguration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Function:
    """A function by what its handler and its initialisation do; seconds."""

    name: str
    sleep: float = 0.0
    compute: float = 0.0
    #: Computing of its initialisation, and its waiting for others.
    initialise: float = 0.015
    connect: float = 0.0
    #: Megabytes.
    memory: int = 128

    @cached_property
    def configuration(self) -> FunctionConfiguration:
        """What a host is told of it."""
        return FunctionConfiguration(
            name=self.name,
            handler="app.handler",
            memory=self.memory,
            code_sha256="0" * 64,
            deployed_at=_EPOCH,
        )


@dataclass(slots=True, eq=False)
class Call:
    """One invocation; seconds, moments as the clock has them."""

    function: Function
    arrived: float
    sleep: float
    compute: float
    began: float | None = None
    ended: float | None = None

    @property
    def waited(self) -> float:
        """Seconds from its arrival until its handler was entered."""
        return inf if self.began is None else self.began - self.arrived


@dataclass(frozen=True)
class Load:
    """Calls of some functions."""

    #: What people call it.
    name: str
    functions: tuple[Function, ...]
    calls: tuple[Call, ...]

    @property
    def longest_wait(self) -> float:
        """Seconds."""
        return max(call.waited for call in self.calls)

    @property
    def end(self) -> float:
        """The moment when the last call had ended; infinite when some have not."""
        return max(inf if call.ended is None else call.ended for call in self.calls)

    def shortest(self, cores: int) -> float:
        """Seconds that its computing takes when each call in turn gets the first core that is free.

        That is one queue for all cores, and nobody ever in another's way.
        """
        free = [0.0] * cores
        for call in self.calls:
            heapq.heapreplace(free, free[0] + call.compute)
        return max(free)


def burst(function: Function, calls: int, at: float) -> Load:
    """So many calls at one moment."""
    chance = random.Random(function.name)
    made = tuple(_call(function, at, chance) for _ in range(calls))
    return Load(function.name, (function,), made)


def trickle(name: str, functions: tuple[Function, ...], pause: float, until: float) -> Load:
    """Each function is called now and then: a Poisson process, the same in each run."""
    chance = random.Random(name)
    timed = [(each, at) for each in functions for at in _moments(chance, pause, until)]
    return Load(name, functions, tuple(_call(each, at, chance) for each, at in timed))


def _call(function: Function, at: float, chance: random.Random) -> Call:
    """A call that takes about as long as its function's do: none marches in step with others."""
    varied = chance.uniform(0.5, 1.5)
    return Call(function, at, function.sleep * varied, function.compute * varied)


def _moments(chance: random.Random, pause: float, until: float) -> Iterator[float]:
    moment = chance.expovariate(1 / pause)
    while moment < until:
        yield moment
        moment += chance.expovariate(1 / pause)
