"""One run: hosts, what is to be run on them, and what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.host import Cluster, SimulatedHost
from benchmarks.simulation.load import Call, Load
from benchmarks.simulation.queues import Queues
from workers.fleet import RAMP, RAMP_SECONDS
from workers.scaling import Host

#: Simulated seconds between samples, and after which a run is given up.
SAMPLE: Final = 0.25
_PATIENCE: Final = 3_600.0


@dataclass(frozen=True)
class Plan:
    """What is to be simulated."""

    hosts: tuple[Host, ...]
    loads: tuple[Load, ...]
    #: Seconds after which an idle environment is reaped.
    idle_timeout: float = 60.0

    @property
    def cores(self) -> int:
        """Of all hosts."""
        return sum(each.cores for each in self.hosts)

    @property
    def calls(self) -> Iterator[Call]:
        """Of all loads."""
        return (call for load in self.loads for call in load.calls)


@dataclass(frozen=True, slots=True)
class Sample:
    """Environments and invocations of one load on all hosts at one moment."""

    time: float
    busy: int
    idle: int
    starting: int
    waiting: int

    @property
    def environments(self) -> int:
        """All of them."""
        return self.busy + self.idle + self.starting


@dataclass(frozen=True)
class Run:
    """What was seen."""

    plan: Plan
    hosts: tuple[SimulatedHost, ...]
    #: By name of the load.
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """When the last environment had gone."""
        return max(samples[-1].time for samples in self.samples.values())

    def most_environments(self) -> int:
        """At one moment, of all functions together."""
        moments = zip(*self.samples.values(), strict=True)
        sums: list[int] = [sum(each.environments for each in moment) for moment in moments]
        return max(sums)

    def kept_limits(self) -> bool:
        """Whether no host ever had more than it can give."""
        return all(
            host.most.memory <= host.fleets.host.memory
            and host.most.working <= host.fleets.host.limit
            for host in self.hosts
        )

    def ahead_of_ramp(self) -> float:
        """Environments by which a function on one host was ever ahead of its ramp; 0: never."""
        every = (starts for host in self.hosts for starts in host.starts.values())
        return max(map(_ahead_of_ramp, every))


def simulate(plan: Plan) -> Run:
    """Run until every call has ended and every environment was reaped.

    Raises:
        TimeoutError: that does not come.
    """
    clock, queues = Clock(), Queues()
    functions = {each.name: each for load in plan.loads for each in load.functions}
    cluster = Cluster(clock, queues, functions, len(plan.hosts), plan.idle_timeout)
    hosts = tuple(SimulatedHost(cluster, replace(each)) for each in plan.hosts)
    for call in plan.calls:
        clock.after(call.arrived, partial(queues.push, call))
    run = Run(plan, hosts, {load.name: [] for load in plan.loads})
    _watch(run, clock, queues)
    return run


def _watch(run: Run, clock: Clock, queues: Queues) -> None:
    due = 0.0
    while clock.step():
        if clock.now < due:
            continue
        due = clock.now + SAMPLE
        for load in run.plan.loads:
            run.samples[load.name].append(_sample(run, load, clock.now, queues))
        if _is_over(run):
            return
        if clock.now > _PATIENCE:
            raise TimeoutError(f"not over after {_PATIENCE:,g} simulated seconds")


def _is_over(run: Run) -> bool:
    gone = not any(samples[-1].environments for samples in run.samples.values())
    return gone and all(call.ended is not None for call in run.plan.calls)


def _sample(run: Run, load: Load, now: float, queues: Queues) -> Sample:
    names = [each.name for each in load.functions]
    fleets = [host.fleets.get(name) for host in run.hosts for name in names]
    return Sample(
        time=now,
        busy=sum(len(each.busy) for each in fleets),
        idle=sum(len(each.idle) + each.resting for each in fleets),
        starting=sum(each.starting for each in fleets),
        waiting=sum(each.queue for each in fleets) + sum(map(queues.waiting, names)),
    )


def _ahead_of_ramp(starts: list[float]) -> float:
    """The ramp told anew, from its definition: a bucket of 1,000, refilled in 10 seconds."""
    left, since, ahead = float(RAMP), 0.0, 0.0
    for moment in starts:
        left = min(float(RAMP), left + (moment - since) * RAMP / RAMP_SECONDS) - 1
        since, ahead = moment, max(ahead, -left)
    return ahead
