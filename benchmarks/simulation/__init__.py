"""Ten thousand environments over a hundred hosts: the real scaling code, the rest simulated.

What is real: `workers.scaling` and `workers.fleet`, every decision about starting, invoking, making
room and reaping. What is simulated: time, processors (shared evenly), environments, the queues and
their round trips (from measured ones: `host.py` lists them). Nothing is drawn by chance that a seed
does not fix: two runs are the same.

The ramp of 1,000 environments in 10 s is counted for each function on each host, as the code has
it: a hundred hosts together may start a hundred times that. AWS counts all of a function's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.simulation import scenarios
from benchmarks.simulation.load import Load
from benchmarks.simulation.run import Plan, Run, simulate
from workers.fleet import RAMP, RAMP_SECONDS

HOSTS: Final = 100
#: Seconds; with a worker's patience before it leaves something to others; part of the shortest
#: time there can be; seconds after the idle timeout.
GOAL_WAIT: Final = 1.0
GOAL_LEFT: Final = 3.0
GOAL_COMPUTING: Final = 0.9
GOAL_REAPED: Final = 1.0


def measure(data: Path) -> Iterator[Row]:
    """Simulate all scenarios, and draw the large one."""
    from benchmarks.simulation.plot import draw  # what draws is installed for `make bench` only

    run = _told("10,000 environments", scenarios.fleet_of_hosts(HOSTS))
    quiet = _told("small functions alone", scenarios.quiet(HOSTS))
    ramp = _told("one large host", scenarios.large_host())
    slow = _told("slow initialisations", scenarios.slow_initialisation())
    unequal = _told("unequal hosts", scenarios.unequal_hosts())
    alternating = _told("alternating work", scenarios.alternating())
    draw(run, ramp)
    sleeping, computing, small = run.plan.loads
    yield _burst(sleeping)
    yield _ramp(run, ramp)
    yield _computing(run, computing, scenarios.COMPUTING)
    yield _computing(alternating, alternating.plan.loads[0], scenarios.BURST)
    yield _limits(run)
    amid = "50 small functions amid both bursts, longest wait"
    yield _wait(amid, small, f"{quiet.plan.loads[0].longest_wait:.2f} s without the bursts")
    beside = "small functions beside 40 initialisations of 8 s, longest wait"
    yield _wait(beside, slow.plan.loads[1], "8 s, one such initialisation")
    room = "400 sleepers on two hosts with room for 50 and 500, longest wait"
    yield _wait(room, unequal.plan.loads[0], "60 s, one such invocation", GOAL_LEFT)
    yield _reaped(run)


def _told(what: str, plan: Plan) -> Run:
    run = simulate(plan)
    most = run.most_environments()
    say(f"simulated {what}: {run.end:.0f} s, at most {most:,} environments at once")
    return run


def _burst(load: Load) -> Row:
    calls = len(load.calls)
    by_aws = (calls - RAMP) * RAMP_SECONDS / RAMP
    return Row(
        what=f"simulated, {HOSTS} hosts: {calls:,} sleeping invocations from zero, all running",
        ours=f"{load.longest_wait:.2f} s",
        comparison=f"{by_aws:.0f} s by AWS's ramp, counted over all hosts; ours is counted on each",
        ratio=None,
        goal=f"≤ {GOAL_WAIT:g} s",
        reached=load.longest_wait <= GOAL_WAIT,
    )


def _ramp(run: Run, one: Run) -> Row:
    (load,) = one.plan.loads
    expected = (len(load.calls) - RAMP) * RAMP_SECONDS / RAMP
    ahead = max(run.ahead_of_ramp(), one.ahead_of_ramp())
    return Row(
        what=f"simulated, one host: {len(load.calls):,} sleeping invocations, all running",
        ours=f"{load.longest_wait:.1f} s; ahead of the ramp by {ahead:.1f}",
        comparison=f"{expected:.1f} s, the ramp's own arithmetic",
        ratio=load.longest_wait / expected,
        goal="never ahead of the ramp",
        reached=ahead < 0.001,
    )


def _computing(run: Run, load: Load, start: float) -> Row:
    took, least = load.end - start, load.shortest(run.plan.cores)
    calls, hosts = len(load.calls), f"{len(run.hosts)} host{'s' * (len(run.hosts) > 1)}"
    return Row(
        what=f"simulated, {hosts}: {calls:,} invocations, {load.name}, until all end",
        ours=f"{took:.1f} s",
        comparison=f"{least:.1f} s, one queue for all {run.plan.cores} cores, one call on each",
        ratio=least / took,
        goal=f"≥ {GOAL_COMPUTING:g}",
        reached=least / took >= GOAL_COMPUTING,
    )


def _limits(run: Run) -> Row:
    host = run.plan.hosts[0]
    memory = max(each.most.memory for each in run.hosts)
    working = max(each.most.working for each in run.hosts)
    return Row(
        what=f"simulated, {HOSTS} hosts: most on any host at any moment",
        ours=f"{memory:,} MB of environments, {working:,} at work",
        comparison=f"{host.memory:,} MB and {host.limit:,}, its limits",
        ratio=None,
        goal="never more",
        reached=run.kept_limits(),
    )


def _wait(what: str, load: Load, comparison: str, goal: float = GOAL_WAIT) -> Row:
    wait, what = load.longest_wait, f"simulated: {what}"
    return Row(what, f"{wait:.2f} s", comparison, None, f"≤ {goal:g} s", wait <= goal)


def _reaped(run: Run) -> Row:
    idle = run.plan.idle_timeout
    after = run.end - max(load.end for load in run.plan.loads)
    return Row(
        what=f"simulated, {HOSTS} hosts: no environment left after the last invocation",
        ours=f"{after:.1f} s",
        comparison=f"{idle:g} s idle timeout",
        ratio=after / idle,
        goal=f"≤ {idle + GOAL_REAPED:g} s",
        reached=after <= idle + GOAL_REAPED,
    )
