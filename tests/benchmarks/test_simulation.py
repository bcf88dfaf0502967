"""The real scaling code under simulated load: what must hold whatever the scale."""

from __future__ import annotations

import pytest

from benchmarks.simulation import scenarios
from benchmarks.simulation.run import Run, simulate

HOSTS = 5
#: Seconds for which nobody waits who wants little.
LONG = 3.0


@pytest.fixture(scope="module")
def run() -> Run:
    """Bursts of sleeping and of computing invocations beside small functions, on a few hosts."""
    return simulate(scenarios.fleet_of_hosts(HOSTS))


def test_a_sleeping_burst_runs_all_at_once_far_beyond_the_cores(run: Run) -> None:
    """What wants no processor is not held up by them."""
    sleeping = run.plan.loads[0]

    assert max(each.busy for each in run.samples["sleeping"]) == len(sleeping.calls) == 100 * HOSTS
    assert sleeping.longest_wait < 1.0


def test_a_computing_burst_stays_near_the_cores(run: Run) -> None:
    """More would only take turns: all but those of the first moments, when nobody had measured."""
    later = [each for each in run.samples["computing"] if each.time > scenarios.COMPUTING + 2.5]

    assert any(each.waiting for each in later)
    assert max(each.busy for each in later) <= 4 * run.plan.cores


def test_no_host_ever_has_more_than_it_can_give(run: Run) -> None:
    """Memory is wanted by more than there is for: it is used up to the limit, never beyond."""
    assert run.kept_limits()
    assert max(each.most.memory for each in run.hosts) > 0.9 * run.plan.hosts[0].memory


def test_nobody_starves(run: Run) -> None:
    """Small functions are served amid the bursts of others."""
    assert run.plan.loads[2].longest_wait < LONG


def test_silence_ends_every_environment(run: Run) -> None:
    """All are reaped once the idle timeout has passed, and hardly later."""
    silent = max(load.end for load in run.plan.loads)

    assert run.most_environments() > 100 * HOSTS
    assert not any(samples[-1].environments for samples in run.samples.values())
    assert run.end < silent + run.plan.idle_timeout + 1.0


def test_a_function_grows_by_its_ramp_on_a_host_that_has_room_for_all() -> None:
    """A thousand at once, then a hundred a second, and never one too many."""
    one = simulate(scenarios.large_host())
    (load,) = one.plan.loads

    assert one.ahead_of_ramp() < 0.001
    assert 20.0 <= load.longest_wait < 20.5


def test_work_that_alternates_keeps_the_cores_busy() -> None:
    """What computes for a part of its time only may be at work far beyond the cores."""
    one = simulate(scenarios.alternating())
    (load,) = one.plan.loads

    assert load.shortest(one.plan.cores) / (load.end - scenarios.BURST) > 0.85


def test_slow_initialisations_keep_no_other_function_from_its_first_environment() -> None:
    """One that waits for others while it starts has a backlog of its own, and nobody else's."""
    beside = simulate(scenarios.slow_initialisation())

    assert beside.plan.loads[1].longest_wait < LONG


def test_nothing_waits_for_a_full_host_while_another_has_room() -> None:
    """A worker keeps little in its hands that it cannot run."""
    unequal = simulate(scenarios.unequal_hosts())

    assert unequal.plan.loads[0].longest_wait < LONG


def test_two_runs_are_the_same() -> None:
    """What is shown of the scaling code is no matter of chance."""
    first, second = (simulate(scenarios.fleet_of_hosts(2)) for _ in range(2))

    assert first.samples == second.samples
