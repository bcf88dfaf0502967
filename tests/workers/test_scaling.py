"""Scaling: who may have one environment more, and what is in the way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.configuration import FunctionConfiguration
from workers.fleet import HELD, RAMP, RESERVED, STARTING, Fleet
from workers.scaling import CPU, FIRSTS, HOST, MEMORY, RAMPING, Fleets, Host


@dataclass(eq=False)
class _Environment:
    """What scaling knows of an environment."""

    memory: int = 128
    last_used: float = 0.0


@dataclass
class _Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class _Made:
    """Fleets under a clock of the test's own."""

    host: Host
    clock: _Clock = field(default_factory=_Clock)

    def __post_init__(self) -> None:
        self.fleets: Fleets[_Environment, int] = Fleets(self.host, self.clock)
        self._work = itertools.count()

    def fleet(
        self, name: str, waiting: int = 0, memory: int = 128, reserved: int | None = None
    ) -> Fleet[_Environment, int]:
        fleet = self.fleets.get(name)
        fleet.configuration = _configuration(name, memory, reserved)
        for _ in range(waiting):
            self.fleets.enqueue(fleet, next(self._work))
        return fleet

    def start(self, fleet: Fleet[_Environment, int]) -> _Environment:
        """Start one and have it idle."""
        self.fleets.start(fleet)
        environment = _Environment(fleet.memory, self.clock())
        self.fleets.started(fleet, environment)
        return environment

    def run(self, fleet: Fleet[_Environment, int], environments: int) -> None:
        """Start so many, each with an invocation."""
        for _ in range(environments):
            self.start(fleet)
            self.fleets.enqueue(fleet, next(self._work))
            self.fleets.invoke(fleet)


def _configuration(name: str, memory: int, reserved: int | None) -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name,
        handler="app.handler",
        memory=memory,
        reserved_concurrency=reserved,
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )


@pytest.fixture
def made() -> _Made:
    return _Made(Host(limit=100, memory=10_240, cores=2))


def test_a_waiting_invocation_starts_an_environment(made: _Made) -> None:
    """Nothing is in the way of the first."""
    fleet = made.fleet("crop", waiting=1)

    assert fleet.wants and made.fleets.bars_start(fleet) == ""


def test_as_many_are_started_as_wait(made: _Made) -> None:
    """One that is being started will serve one that waits."""
    fleet = made.fleet("crop", waiting=2)
    made.fleets.start(fleet)
    assert fleet.wants
    made.fleets.start(fleet)

    assert not fleet.wants


def test_reserved_concurrency_caps_a_function(made: _Made) -> None:
    """Neither a new environment nor an idle one gets more."""
    fleet = made.fleet("crop", waiting=3, reserved=1)
    made.run(fleet, 1)
    made.start(fleet)

    assert made.fleets.bars_invocation(fleet) == RESERVED
    assert made.fleets.bars_start(fleet) == RESERVED
    assert made.fleets.bars_start(made.fleet("other", waiting=1)) == ""


def test_a_function_with_no_reserved_concurrency_left_is_paused(made: _Made) -> None:
    """0 pauses it: its queue is left alone from the start."""
    fleet = made.fleet("crop", reserved=0)

    assert fleet.rest(0.0) and fleet.at_rest


def test_the_hosts_limit_holds_for_all_functions_together(made: _Made) -> None:
    """`pool_shrink` lowers it for whatever comes next."""
    made.run(made.fleet("crop"), 3)
    made.host.limit = 3

    assert made.fleets.bars_start(made.fleet("other", waiting=1)) == HOST


def test_few_initialise_at_once(made: _Made) -> None:
    """More would only take turns on the processors."""
    fleet = made.fleet("crop", waiting=10)
    for _ in range(made.host.starts):
        made.fleets.start(fleet)

    assert made.fleets.bars_start(fleet) == STARTING


def test_slow_initialisations_do_not_keep_others_from_their_first(made: _Made) -> None:
    """Who has nothing at work need not wait until somebody else's modules are imported."""
    slow = made.fleet("slow", waiting=10)
    for _ in range(made.host.starts):
        made.fleets.start(slow)

    assert made.fleets.bars_start(slow) == STARTING
    assert made.fleets.bars_start(made.fleet("other", waiting=1)) == ""


def test_more_are_let_in_while_cores_are_idle_nevertheless(made: _Made) -> None:
    """What alternates between computing and waiting needs more at work than there are cores."""
    fleet = made.fleet("both", waiting=99)
    made.fleets.measured(fleet, 0.5)

    def fill() -> int:
        while not (bar := made.fleets.bars_invocation(fleet)):
            made.run(fleet, 1)
        fleet.limit = bar
        return fleet.working

    few = fill()
    for _ in range(10):
        made.fleets.look(idle=0.2)
    more = fill()
    for _ in range(200):
        made.fleets.look(idle=0.0)
    while fleet.working:
        made.fleets.finish(fleet, next(iter(fleet.busy)))

    assert few < more
    assert fill() <= few + 1


def test_what_waits_for_this_host_alone_is_left_to_others(made: _Made) -> None:
    """Work in the hands of a full host goes back in line; of one that is served, it stays."""
    fleet = made.fleet("large", waiting=20, memory=6_000)
    made.run(fleet, 1)
    made.clock.now = 5.0
    fleet.limit = made.fleets.bars_start(fleet)

    assert made.fleets.stuck(before=4.0) == [fleet]
    made.fleets.take(fleet)
    assert made.fleets.stuck(before=4.0) == []


def test_computing_stops_where_the_cores_are_busy(made: _Made) -> None:
    """A function that wants a processor all the time gets as many environments as can be served."""
    fleet = made.fleet("resize", waiting=50)
    made.fleets.measured(fleet, 1.0)
    started = 0
    while not made.fleets.bars_invocation(fleet):
        made.run(fleet, 1)
        started += 1

    assert made.fleets.bars_invocation(fleet) == CPU
    assert made.host.cores <= started <= 2 * made.host.cores


def test_waiting_for_others_goes_far_beyond_the_cores(made: _Made) -> None:
    """A function that sleeps is not held up by processors it does not want."""
    fleet = made.fleet("fetch", waiting=60)
    made.fleets.measured(fleet, 0.01)
    made.run(fleet, 60)

    assert made.fleets.bars_invocation(fleet) == ""


def test_busy_cores_keep_no_function_from_its_first(made: _Made) -> None:
    """One function's backlog never starves another."""
    computing = made.fleet("resize", waiting=50)
    made.fleets.measured(computing, 1.0)
    made.run(computing, 5)
    other = made.fleet("other", waiting=2)
    made.fleets.measured(other, 1.0)

    assert made.fleets.bars_start(computing) == CPU
    assert made.fleets.bars_start(other) == ""
    made.run(other, 1)
    assert made.fleets.bars_start(other) == CPU


def test_the_one_with_the_fewest_at_work_comes_first(made: _Made) -> None:
    """A place that is free goes to whoever has least."""
    large, small = made.fleet("large", waiting=9), made.fleet("small", waiting=1)
    made.run(large, 4)
    made.run(small, 1)

    assert made.fleets.hungry() == [small, large]


def test_memory_is_given_up_to_the_budget(made: _Made) -> None:
    """The sum of memory sizes stays within what the host has for environments."""
    fleet = made.fleet("large", waiting=20, memory=3_000)
    made.run(fleet, 3)

    assert made.fleets.bars_start(fleet) == MEMORY
    assert made.fleets.memory == 9_000


def test_idle_environments_give_way_the_least_recently_used_first(made: _Made) -> None:
    """What others keep warm makes room for what is wanted."""
    cold = made.fleet("cold", memory=4_096)
    for made.clock.now in (1.0, 2.0):
        made.start(cold)
    fleet = made.fleet("large", waiting=1, memory=3_000)

    assert made.fleets.bars_start(fleet) == ""
    assert [each.last_used for _, each in made.fleets.make_room(fleet)] == [1.0]


def test_what_is_provisioned_does_not_give_way(made: _Made) -> None:
    """Provisioned concurrency stays warm whatever others want."""
    kept = made.fleet("kept", memory=5_000)
    made.fleets.provision(kept, 2)
    for _ in range(2):
        made.start(kept)
    fleet = made.fleet("large", waiting=1, memory=3_000)

    assert made.fleets.bars_start(fleet) == MEMORY
    assert made.fleets.make_room(fleet) == []
    assert made.fleets.cold(before=99.0) == []


def test_a_function_with_a_backlog_gives_way_to_one_that_has_less(made: _Made) -> None:
    """Under memory pressure too, a backlog does not starve others."""
    large = made.fleet("large", waiting=9, memory=5_000)
    made.run(large, 1)
    made.start(large)
    small = made.fleet("small", waiting=1, memory=1_000)

    assert len(made.fleets.make_room(small)) == 1
    made.run(small, 1)
    assert made.fleets.make_room(small) == []


def test_a_function_grows_by_a_thousand_in_ten_seconds(made: _Made) -> None:
    """AWS's ramp: refilled continuously, and not banked."""
    made = _Made(Host(limit=100_000, memory=100_000_000, cores=100_000))
    fleet = made.fleet("crop", waiting=2 * RAMP)

    def grow() -> int:
        before = fleet.size
        while not made.fleets.bars_start(fleet):
            made.start(fleet)
        assert made.fleets.bars_start(fleet) == RAMPING
        return fleet.size - before

    assert grow() == RAMP
    made.clock.now += 1.0
    assert grow() == RAMP / 10
    made.clock.now += 1_000.0
    assert grow() == RAMP


def test_a_full_hand_leaves_the_queue_to_other_workers_until_half_is_gone(made: _Made) -> None:
    """A worker holds little more than it can use."""
    fleet = made.fleet("crop", waiting=HELD)
    assert fleet.rest(0.0) and fleet.at_rest
    while len(fleet.waiting) >= HELD // 2:
        assert not fleet.rest(0.0)
        made.fleets.take(fleet)

    assert fleet.rest(0.0) and not fleet.at_rest


_STEPS = st.lists(st.sampled_from(["enqueue", "serve", "started", "finish", "end"]), max_size=60)


@given(st.lists(st.tuples(st.integers(0, 2), _STEPS), max_size=6))
def test_the_sums_are_those_of_the_fleets(plan: list[tuple[int, list[str]]]) -> None:
    """Whatever happens in whatever order, no limit is passed and no count drifts."""
    made = _Made(Host(limit=5, memory=1_000, cores=2))
    names = [made.fleet(name) for name in "abc"]
    for at, steps in plan:
        for step in steps:
            _step(made, names[at], step)
            _check(made, names)


def _step(made: _Made, fleet: Fleet[_Environment, int], step: str) -> None:
    fleets = made.fleets
    if step == "enqueue":
        fleets.enqueue(fleet, 1)
    elif step == "serve":
        while fleet.waiting and fleet.idle and not fleets.bars_invocation(fleet):
            fleets.invoke(fleet)
        while fleet.wants and not fleets.bars_start(fleet):
            for other, environment in fleets.make_room(fleet):
                fleets.remove(other, environment)
            fleets.start(fleet)
    elif step == "started" and fleet.starting:
        fleets.started(fleet, _Environment())
    elif step == "finish" and fleet.busy:
        environment = next(iter(fleet.busy))
        fleets.finish(fleet, environment)
        fleets.rest(fleet, environment)
    elif step == "end" and fleet.idle:
        fleets.remove(fleet, fleet.idle[0])


def _check(made: _Made, names: list[Fleet[_Environment, int]]) -> None:
    assert made.fleets.working == sum(each.working for each in names) <= made.host.limit
    assert made.fleets.starting == sum(each.starting for each in names)
    assert made.fleets.starting <= made.host.starts * FIRSTS
    assert made.fleets.memory == sum(each.size * 128 for each in names) <= made.host.memory
    assert set(made.fleets.hungry()) == {each for each in names if each.waiting}
