"""Scaling: which function may have one environment more at work, and what is in the way.

Demand decides, not a clock: whoever has a waiting invocation and no idle environment gets one now,
within these limits, looked at in this order:

    reserved concurrency   the function's own; over all hosts the ledger counts it
    host limit             environments at work on this host: `pool_grow`, `pool_shrink`
    CPU                    processes that want a processor: more than the cores serve help nobody
    starting               initialisations at once: more would only take turns
    memory budget          the sum of memory sizes; idle environments of others give way
    ramp                   AWS's 1,000 environments in 10 s for each function

The CPU holds up no function that has nothing at work, and slow initialisations of others hardly:
none starves. Where several wait, the one with the fewest at work comes first.

Nothing here knows of processes or of the real clock: the simulation in `benchmarks/` runs it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic

from workers.fleet import HELD, RESERVED, STARTING, E, Fleet, Ramp, W

HOST: Final = "host limit"
CPU: Final = "CPU"
MEMORY: Final = "memory budget"
RAMPING: Final = "ramp of 1,000 in 10 s"

#: What only this host lacks: another may have it.
FULL: Final = frozenset({HOST, MEMORY, RAMPING})

#: Processes that may want a processor at once, for each core, so that one is at hand when another
#: waits for a disk or a server.
RUNNABLE: Final = 1.5
#: While the CPU is in the way although the cores are idle for more than this part of the time, as
#: many more are let in at each look, for each core; and fewer again while they are idle for less
#: than a third of it. What alternates between computing and waiting needs that.
IDLE: Final = 0.03
MORE: Final = 0.8
FEWER: Final = 0.97
#: What is left of a look's weight at the next one.
FADING: Final = 0.7
#: What is let in so, for each core at most.
MOST_MORE: Final = 8.0
#: How many more may initialise at once for functions that have nothing at work yet.
FIRSTS: Final = 4

Clock = Callable[[], float]


@dataclass(slots=True)
class Host:
    """What one host can give."""

    #: Environments at work at once.
    limit: int
    #: Megabytes for all environments together.
    memory: int
    cores: int = os.cpu_count() or 1

    @property
    def starts(self) -> int:
        """Environments that may initialise at once."""
        return 2 * self.cores


class Fleets(Generic[E, W]):
    """All fleets of a host, and what they amount to.

    An environment goes start → started → invoke → finish → rest → invoke …, and leaves by `remove`
    when it is idle.
    """

    def __init__(self, host: Host, clock: Clock) -> None:
        self.host = host
        self._clock = clock
        self._fleets: dict[str, Fleet[E, W]] = {}
        #: Those with something waiting.
        self._hungry: dict[Fleet[E, W], None] = {}
        self._provisioned: list[Fleet[E, W]] = []
        self.starting = self.working = 0
        #: Megabytes given to environments.
        self.memory = 0
        #: Processes that want a processor, as far as is known.
        self.runnable = 0.0
        #: How many may, beyond `RUNNABLE`, since the cores are idle nevertheless; and how idle.
        self._more = self._idle = 0.0

    def __iter__(self) -> Iterator[Fleet[E, W]]:
        return iter(list(self._fleets.values()))

    def get(self, function: str) -> Fleet[E, W]:
        """The fleet of a function, made when there is none."""
        fleet = self._fleets.get(function)
        if fleet is None:
            fleet = self._fleets[function] = Fleet(function, Ramp(self._clock()))
        return fleet

    @property
    def busy(self) -> int:
        """Environments that have an invocation."""
        return self.working - self.starting

    @property
    def allowance(self) -> int:
        """Invocations that may wait in this worker's hands for their function's limits."""
        return HELD * max(1, len(self._fleets))

    def provision(self, fleet: Fleet[E, W], environments: int) -> None:
        """Keep so many environments of a fleet warm."""
        fleet.provisioned = environments
        self._provisioned = [each for each in self if each.provisioned]

    # -- what waits -----------------------------------------------------------------------------

    def enqueue(self, fleet: Fleet[E, W], work: W) -> None:
        """Something waits for an environment of this fleet."""
        if not fleet.waiting:
            fleet.served = self._clock()
        fleet.waiting.append(work)
        self._hungry[fleet] = None

    def take(self, fleet: Fleet[E, W]) -> W:
        """The one that has waited longest, which waits no more."""
        fleet.served = self._clock()
        work = fleet.waiting.popleft()
        if not fleet.waiting:
            fleet.limit = ""
            del self._hungry[fleet]
        return work

    def hungry(self) -> list[Fleet[E, W]]:
        """Fleets in which something waits, the one with the fewest at work first."""
        if len(self._hungry) < 2:
            return list(self._hungry)
        return sorted(self._hungry, key=lambda each: each.working)

    def stuck(self, before: float) -> list[Fleet[E, W]]:
        """Fleets of which nothing was served since a moment, for what another host may have."""
        return [each for each in self._hungry if each.limit in FULL and each.served < before]

    def short(self) -> list[Fleet[E, W]]:
        """Fleets that have fewer environments than are to be kept warm."""
        return [each for each in self._provisioned if each.size < each.provisioned]

    # -- what happens to environments -----------------------------------------------------------

    def start(self, fleet: Fleet[E, W]) -> None:
        """One is being started."""
        fleet.starting += 1
        fleet.ramp.count()
        self.starting += 1
        self.memory += fleet.memory
        self._work(fleet, 1)

    def fail(self, fleet: Fleet[E, W], memory: int) -> None:
        """One of so many megabytes could not be started."""
        self._started(fleet)
        self.memory -= memory

    def started(self, fleet: Fleet[E, W], environment: E) -> None:
        """One that was being started is idle."""
        fleet.coming.discard(environment)
        self._started(fleet)
        fleet.idle.append(environment)

    def invoke(self, fleet: Fleet[E, W]) -> tuple[E, W]:
        """The idle one that was used last gets what has waited longest."""
        environment, work = fleet.idle.pop(), self.take(fleet)
        fleet.busy[environment] = work
        self._work(fleet, 1)
        return environment, work

    def finish(self, fleet: Fleet[E, W], environment: E) -> W:
        """One has done its work, and is about to rest; returns the work."""
        work = fleet.busy.pop(environment)
        fleet.resting += 1
        self._work(fleet, -1)
        return work

    def rest(self, fleet: Fleet[E, W], environment: E) -> None:
        """One that has finished is idle."""
        fleet.resting -= 1
        fleet.idle.append(environment)

    def remove(self, fleet: Fleet[E, W], environment: E) -> None:
        """An idle one is about to go."""
        fleet.idle.remove(environment)
        self.memory -= environment.memory

    def measured(self, fleet: Fleet[E, W], runnable: float) -> None:
        """How much of its time an invocation of this fleet wants a processor."""
        self.runnable += fleet.working * (runnable - (fleet.runnable or 0.0))
        fleet.runnable = runnable

    def look(self, idle: float) -> None:
        """Adapt to the part of the time since the last look in which this host's cores were idle.

        Only while the CPU is in the way: what was idle before tells nothing about a bar.
        """
        self.runnable = sum(each.working * (each.runnable or 0.0) for each in self)
        if not any(each.limit == CPU for each in self._hungry):
            self._idle = 0.0
            return
        self._idle = FADING * self._idle + (1 - FADING) * idle
        if self._idle > IDLE:
            self._more = min(self._more + MORE * self.host.cores, MOST_MORE * self.host.cores)
        elif self._idle < IDLE / 3:
            self._more *= FEWER

    def forget(self, fleet: Fleet[E, W]) -> None:
        """Drop the fleet of a function that is gone, with nothing left of it."""
        del self._fleets[fleet.function]

    def _started(self, fleet: Fleet[E, W]) -> None:
        fleet.starting -= 1
        self.starting -= 1
        self._work(fleet, -1)

    def _work(self, fleet: Fleet[E, W], more: int) -> None:
        self.working += more
        self.runnable += more * (fleet.runnable or 0.0)

    # -- decisions --------------------------------------------------------------------------------

    def bars_invocation(self, fleet: Fleet[E, W]) -> str:
        """What keeps an idle environment of a fleet from getting work; empty: nothing."""
        if fleet.reserved is not None and fleet.working >= fleet.reserved:
            return RESERVED
        if self.working >= self.host.limit:
            return HOST
        wanted = self.runnable + (fleet.runnable or 0.0)
        if fleet.working and wanted > self.host.cores * RUNNABLE + self._more:
            return CPU
        return ""

    def bars_start(self, fleet: Fleet[E, W]) -> str:
        """What keeps a fleet from one environment more; empty: nothing.

        Idle environments that `make_room` would end count as room.
        """
        bar = self.bars_invocation(fleet) if fleet.waiting else ""
        if bar:
            return bar
        if self.starting >= self.host.starts * (1 if fleet.working else FIRSTS):
            return STARTING
        if self._missing(fleet) > sum(each.memory for _, each in self._yielding(fleet)):
            return MEMORY
        return "" if fleet.ramp.has_room(self._clock()) else RAMPING

    def make_room(self, fleet: Fleet[E, W]) -> list[tuple[Fleet[E, W], E]]:
        """The idle environments that must go before one more of this fleet may start."""
        missing, going = self._missing(fleet), list[tuple[Fleet[E, W], E]]()
        for other, environment in self._yielding(fleet):
            if missing <= 0:
                break
            going.append((other, environment))
            missing -= environment.memory
        return going

    def cold(self, before: float) -> list[tuple[Fleet[E, W], E]]:
        """Spare environments that have been idle since before a moment."""
        return [(fleet, each) for fleet in self for each in fleet.spare if each.last_used < before]

    def _missing(self, fleet: Fleet[E, W]) -> int:
        """Megabytes that are missing for one more."""
        return self.memory + fleet.memory - self.host.memory

    def _yielding(self, fleet: Fleet[E, W]) -> list[tuple[Fleet[E, W], E]]:
        """Idle environments that may go for this fleet's sake, the least recently used first."""
        if self._missing(fleet) <= 0:
            return []
        found = [
            (other, environment)
            for other in self
            if other is not fleet and (not other.waiting or other.working > fleet.working)
            for environment in other.spare
        ]
        return sorted(found, key=lambda each: each[1].last_used)
