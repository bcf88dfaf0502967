"""A simulated host: the real scaling code under simulated environments, processors and time.

What `workers.dispatcher` does around `workers.scaling`, this does here, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.load import Call, Function
from benchmarks.simulation.processors import Processors
from benchmarks.simulation.queues import Queues
from benchmarks.simulation.usage import Idleness, Usage
from workers.dispatcher import PATIENCE
from workers.fleet import Fleet
from workers.scaling import Fleets, Host
from workers.supervisor import LOOK

#: Seconds, as measured: Celery for one message; the ledger; a fork; from an outcome to the next
#: question for work.
MESSAGE: Final = 0.0005
CLAIM: Final = 0.001
FORK: Final = 0.004
REST: Final = 0.0002


@dataclass(eq=False, slots=True)
class Environment:
    """A simulated execution environment."""

    function: Function
    last_used: float
    #: Megabytes.
    memory: int


_Fleet: TypeAlias = Fleet[Environment, Call]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What hosts share."""

    clock: Clock
    queues: Queues
    functions: dict[str, Function]
    hosts: int
    #: Seconds after which an idle environment is reaped.
    idle_timeout: float


@dataclass(slots=True)
class Most:
    """Peaks of one host, counted from its fleets one by one: their sums are what is on trial."""

    memory: int = 0
    working: int = 0
    starting: int = 0
    computing: int = 0

    def see(self, host: SimulatedHost) -> None:
        """Look at a host."""
        fleets = list(host.fleets)
        self.memory = max(self.memory, sum(each.size * each.memory for each in fleets))
        self.working = max(self.working, sum(each.working for each in fleets))
        self.starting = max(self.starting, sum(each.starting for each in fleets))
        self.computing = max(self.computing, len(host.processors))


class SimulatedHost:
    """Consumes queues, and runs what it gets."""

    def __init__(self, cluster: Cluster, host: Host) -> None:
        clock, functions = cluster.clock, cluster.functions
        self.fleets: Fleets[Environment, Call] = Fleets(host, clock)
        self.processors = Processors(clock, host.cores)
        #: By function, the moments when environments were started.
        self.starts: dict[str, list[float]] = {name: [] for name in functions}
        #: What it had most of at any moment.
        self.most = Most()
        self._cluster, self._clock, self._queues = cluster, clock, cluster.queues
        self._usage = {name: Usage(clock) for name in functions}
        self._idleness = Idleness(clock, self.processors)
        #: Messages in its hands; and whether it waits for one more.
        self._held, self._asks = 0, False
        clock.after(0.0, self._ask)
        clock.after(LOOK, self._look)

    # -- messages ---------------------------------------------------------------------------------

    def wants(self, function: str) -> bool:
        """Whether it takes messages of this function now."""
        room = self.fleets.host.limit + self.fleets.allowance
        return self._held < room and not self._fleet(function).at_rest

    def take(self, call: Call) -> None:
        """A message; the next one can be taken once Celery is through with it."""
        self._asks = False
        self._held += 1
        fleet = self._fleet(call.function.name)
        fleet.claimed += 1
        self._look_at_queue(fleet)
        self._clock.after(CLAIM, partial(self._begun, fleet, call))
        self._clock.after(MESSAGE, self._ask)

    def _ask(self) -> None:
        self._asks = True
        self._queues.ask(self)

    def _ask_again(self) -> None:
        """It wants more than before."""
        if self._asks:
            self._queues.ask(self)

    def _begun(self, fleet: _Fleet, call: Call) -> None:
        fleet.claimed -= 1
        self._look_at_queue(fleet)
        self.fleets.enqueue(fleet, call)
        self._serve(fleet)

    def _look_at_queue(self, fleet: _Fleet) -> None:
        if fleet.rest(self._clock.now) and not fleet.at_rest:
            self._ask_again()

    # -- serving ----------------------------------------------------------------------------------

    def _serve_all(self) -> None:
        for fleet in self.fleets.hungry():
            self._serve(fleet)

    def _serve(self, fleet: _Fleet) -> None:
        while fleet.waiting and fleet.idle and not self._bars(fleet, start=False):
            self._invoke(fleet)
        while fleet.wants and not self._bars(fleet, start=True):
            self._start(fleet)
        self._look_at_queue(fleet)

    def _bars(self, fleet: _Fleet, *, start: bool) -> str:
        bars = self.fleets.bars_start if start else self.fleets.bars_invocation
        fleet.limit = bars(fleet)
        return fleet.limit

    def _look(self) -> None:
        self.fleets.look(self._idleness.look())
        for fleet in self.fleets:
            wanted = self._usage[fleet.function].look()
            if wanted is not None:
                self.fleets.measured(fleet, wanted)
            self._look_at_queue(fleet)
        for fleet, environment in self.fleets.cold(self._clock.now - self._cluster.idle_timeout):
            self.fleets.remove(fleet, environment)
        if self._cluster.hosts > 1:
            self._leave_to_others()
        self._serve_all()
        self._clock.after(LOOK, self._look)

    def _leave_to_others(self) -> None:
        now = self._clock.now
        for fleet in self.fleets.stuck(now - PATIENCE):
            fleet.throttled_until = now + PATIENCE
            while fleet.waiting:
                self._held -= 1
                self._queues.push(self.fleets.take(fleet))
            self._look_at_queue(fleet)

    # -- environments -----------------------------------------------------------------------------

    def _start(self, fleet: _Fleet) -> None:
        for other, environment in self.fleets.make_room(fleet):
            self.fleets.remove(other, environment)
        self.fleets.start(fleet)
        self.starts[fleet.function].append(self._clock.now)
        self.most.see(self)
        environment = Environment(
            self._cluster.functions[fleet.function], self._clock.now, fleet.memory
        )
        fleet.coming.add(environment)
        started = partial(self._started, fleet, environment)
        initialise = partial(self.processors.compute, environment.function.initialise, started)
        self._clock.after(FORK + environment.function.connect, initialise)

    def _started(self, fleet: _Fleet, environment: Environment) -> None:
        environment.last_used = self._clock.now
        self.fleets.started(fleet, environment)
        self._serve_all()

    def _invoke(self, fleet: _Fleet) -> None:
        environment, call = self.fleets.invoke(fleet)
        call.began = self._clock.now
        self._usage[fleet.function].count(busy=1)
        self.most.see(self)
        self._clock.after(call.sleep, partial(self._compute, fleet, environment, call))

    def _compute(self, fleet: _Fleet, environment: Environment, call: Call) -> None:
        self._usage[fleet.function].count(computing=1)
        self.processors.compute(call.compute, partial(self._finish, fleet, environment))

    def _finish(self, fleet: _Fleet, environment: Environment) -> None:
        call = self.fleets.finish(fleet, environment)
        self._usage[fleet.function].count(busy=-1, computing=-1)
        call.ended = environment.last_used = self._clock.now
        self._held -= 1
        self._ask_again()
        fleet.took(self._clock.now - (call.began or 0.0))
        self._look_at_queue(fleet)
        self._clock.after(REST, partial(self._rest, fleet, environment))

    def _rest(self, fleet: _Fleet, environment: Environment) -> None:
        self.fleets.rest(fleet, environment)
        self._serve_all()

    def _fleet(self, function: str) -> _Fleet:
        fleet = self.fleets.get(function)
        fleet.configuration = self._cluster.functions[function].configuration
        return fleet
