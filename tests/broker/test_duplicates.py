"""Duplicates: however often and in whatever order a write is told, one invocation is effective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis
from redis.connection import AbstractConnection

from broker import keys
from broker.invocation import Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.settings import BrokerSettings
from broker.sweep import Scope, Sweep
from tests.broker.late import World

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class _KilledError(BaseException):
    """The process ends here; nothing of it may catch this."""


@contextmanager
def _killed_before(patch: pytest.MonkeyPatch, command: int) -> Iterator[None]:
    """End whatever runs before its n-th command reaches Redis."""
    send, sent = AbstractConnection.send_packed_command, 0

    def counted(self: Any, *arguments: Any, **words: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > command:
            raise _KilledError
        return send(self, *arguments, **words)

    with patch.context() as inner:
        inner.setattr(AbstractConnection, "send_packed_command", counted)
        yield


def _die(world: World) -> None:
    """The liveness of whoever was killed has lapsed."""
    for key in world.redis.scan_iter(keys.intake_alive("*")):
        world.redis.delete(key)


def _run_until_done(world: World) -> None:
    intake = world.intake()
    while world.redis.llen(keys.EVENTS) or list(world.redis.scan_iter(keys.inflight("*"))):
        intake.run_once()


def test_an_intake_killed_before_any_of_its_commands_leaves_one_invocation_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had done by then, its successor does the rest and nothing twice."""
    command, is_killed = 0, True
    while is_killed:
        name = f"in/{command}"
        world.put([name])
        intake, is_killed = world.intake(), False
        with _killed_before(monkeypatch, command):
            try:
                intake.run_once()
            except _KilledError:
                is_killed = True
        _die(world)
        _run_until_done(world)
        command += 1

    assert command > 5
    assert sorted(world.queued()) == sorted(f"in/{n}" for n in range(command))


def test_a_sweep_killed_before_any_of_its_commands_leaves_one_invocation_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is repeated, and then the events come as well."""
    command, is_killed = 0, True
    while is_killed:
        world.put([f"in/{command}"])
        is_killed = False
        with _killed_before(monkeypatch, command):
            try:
                _sweep(world)
            except _KilledError:
                is_killed = True
        _sweep(world)
        _run_until_done(world)
        command += 1

    assert command > 3
    assert sorted(world.queued()) == sorted(f"in/{n}" for n in range(command))


def _sweep(world: World) -> None:
    for _ in Sweep(world.redis, world.broker, world.storage, world.functions).run(Scope(LONG_AGO)):
        pass


def test_a_list_that_comes_again_is_dropped(world: World, redis: Redis) -> None:
    """As after a restore of Redis from a copy, or when the store tells a write twice."""
    world.put([f"in/{n}" for n in range(20)])
    told: Any = redis.lrange(keys.EVENTS, 0, -1)
    _run_until_done(world)
    redis.rpush(keys.EVENTS, *told, *told)
    _run_until_done(world)

    assert Counter(world.queued()) == Counter(f"in/{n}" for n in range(20))


def test_a_list_that_comes_again_after_all_is_done_is_dropped(
    world: World, redis: Redis, broker: BrokerSettings
) -> None:
    """Finished invocations have left the ledger, and are remembered all the same."""
    world.put(["in/a"])
    told: Any = redis.lrange(keys.EVENTS, 0, -1)
    _run_until_done(world)
    _finish(redis, broker)
    redis.rpush(keys.EVENTS, *told)
    _run_until_done(world)
    _sweep(world)

    assert not list(redis.scan_iter(keys.invocation("*")))
    assert redis.hget(keys.counters("crop"), "succeeded") == b"1"


def _finish(redis: Redis, broker: BrokerSettings) -> None:
    """Run what is queued, as a worker does."""
    ledger = Ledger(redis, "host:1", broker)
    redis.set(keys.worker_alive("host:1"), "1")
    [entry] = redis.scan_iter(keys.invocation("*"))
    id = entry.decode().rpartition(":")[2]
    _, [begun] = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun, Invocation)
    outcome = Outcome(begun, b"null", None, 1.0, 30)
    closed, _ = ledger.exchange([Closing(outcome, retries=2)], [])
    assert closed == [True]


def test_a_function_without_sweeps_pays_nothing_for_them(world: World, redis: Redis) -> None:
    """One look and one entry in the memory for each invocation, as without any sweep."""
    world.put([f"in/{n}" for n in range(50)])
    intake = world.intake()
    intake._tick()
    redis.config_resetstat()
    assert intake.run_once() == 50

    calls = _calls(redis)
    assert calls["sismember"] == 50
    assert calls["sadd"] == 50 + calls["lpush"] + 1  # the function's name, the intake's
    assert calls["incrby"] == 1


def _calls(redis: Redis) -> Counter[str]:
    found: Any = redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()})
