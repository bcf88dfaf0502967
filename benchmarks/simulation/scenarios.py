"""What is simulated."""

from __future__ import annotations

from typing import Final

from benchmarks.simulation.load import Function, Load, burst, trickle
from benchmarks.simulation.run import Plan
from workers.scaling import Host

#: Simulated seconds: when bursts come, and when small functions are called for the last time.
BURST: Final = 1.0
COMPUTING: Final = 5.0
SILENCE: Final = 60.0


def fleet_of_hosts(hosts: int) -> Plan:
    """For each host, 100 that sleep and 40 that compute come in bursts, beside small functions.

    The hosts' memory is less than all of these would take.
    """
    return Plan(
        hosts=(Host(limit=1_000, memory=16_384, cores=8),) * hosts,
        loads=(
            burst(Function("sleeping", sleep=20.0), 100 * hosts, BURST),
            burst(Function("computing", compute=1.0, memory=256), 40 * hosts, COMPUTING),
            small_functions(50),
        ),
    )


def quiet(hosts: int) -> Plan:
    """The small functions alone."""
    plan = fleet_of_hosts(hosts)
    return Plan(plan.hosts, (small_functions(50),))


def large_host() -> Plan:
    """One host that has room for all, so that nothing but the ramp is in the way."""
    host = Host(limit=10_000, memory=1_000_000, cores=64)
    return Plan((host,), (burst(Function("sleeping", sleep=40.0), 3_000, BURST),))


def alternating() -> Plan:
    """Work that computes for a part of its time only: several share a core, if they are let."""
    host = Host(limit=1_000, memory=16_384, cores=2)
    return Plan((host,), (burst(Function("alternating", 0.1, 0.03), 600, BURST),))


def slow_initialisation() -> Plan:
    """A function that waits for others while it initialises, beside small functions."""
    host = Host(limit=1_000, memory=16_384, cores=2)
    slow = burst(Function("slow", sleep=1.0, connect=8.0), 40, BURST)
    return Plan((host,), (slow, small_functions(5)))


def unequal_hosts() -> Plan:
    """Of two hosts, one has memory for 50 environments, the other for 500; 400 are wanted."""
    small, large = (Host(1_000, memory=each * 128, cores=2) for each in (50, 500))
    return Plan((small, large), (burst(Function("sleeping", sleep=60.0), 400, BURST),))


def small_functions(functions: int) -> Load:
    """Functions that are called every two seconds on average."""
    named = (Function(f"small-{number:02}", 0.03, 0.01) for number in range(functions))
    return trickle("small", tuple(named), 2.0, SILENCE)
