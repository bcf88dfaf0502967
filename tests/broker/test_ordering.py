"""Order by key: of one key, no older write is delivered after a newer one has been handled."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from broker import keys, ordering
from broker.intake import Intake
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads

FUNCTION = FunctionConfiguration(
    name="f",
    handler="app.handler",
    triggers=(Trigger(bucket="photos"),),
    order="key",
    code_sha256="0" * 64,
    deployed_at=datetime.now(UTC),
)
FAULT = FunctionFault("ValueError", "not today")


@dataclass
class _World:
    """An ordered function, and what has become of its writes."""

    redis: Redis
    broker: BrokerSettings
    running: list[Invocation] = field(default_factory=list)
    #: Each handled write: its key and its number.
    handled: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        functions = {FUNCTION.name: FUNCTION}
        self.intake = Intake(self.broker, lambda: functions, uploads("bucketwheel"), "us-east-1")
        self.ledger = Ledger(self.redis, "w", self.broker)
        self.reaper = Reaper(self.redis, "us-east-1")
        self.redis.set(keys.worker_alive("w"), "1")

    def tell(self, key: str, number: int) -> None:
        """The store tells of a write: the higher its number, the later it was."""
        stored = {"key": key, "size": number, "eTag": "e", "sequencer": f"{number:04X}"}
        s3 = {"bucket": {"name": "photos"}, "object": stored}
        record = {"eventName": "s3:ObjectCreated:Put", "s3": s3}
        self.redis.rpush(keys.EVENTS, orjson.dumps([{"Event": [record]}]))
        self.intake.run_once()

    def deliver(self, any_of: int = 0) -> Invocation | None:
        """A worker takes a message, whichever; the write that begins, if one does."""
        messages: Any = self.redis.lrange(keys.queue("f"), 0, -1)
        if not messages:
            return None
        message = messages[any_of % len(messages)]
        self.redis.lrem(keys.queue("f"), 1, message)
        [id] = delivered(message)
        _, [begun] = self.ledger.exchange([], [Claim(id, "f")])
        if not isinstance(begun, Invocation):
            return None
        key, number = _write(begun)
        assert all(_write(each)[0] != key for each in self.running), "two of one key at once"
        newer = [other for name, other in self.handled if name == key and other > number]
        assert not newer, f"{key} {number} after {newer}"
        self.running.append(begun)
        return begun

    def end(self, which: int, fault: FunctionFault | None) -> None:
        """A running invocation ends."""
        if self.running:
            invocation = self.running.pop(which % len(self.running))
            if fault is None:
                self.handled.append(_write(invocation))
            outcome = Outcome(invocation, None if fault else b"null", fault, 1.0, 30)
            self.ledger.exchange([Closing(outcome, retries=2)], [])

    def let_time_pass(self) -> None:
        """Whatever waits for a moment to come is due."""
        waiting: Any = self.redis.zrange(keys.DELAYED, 0, -1)
        for id in waiting:
            self.redis.zadd(keys.DELAYED, {id: 1})
        self.reaper.retry_due()


def _write(invocation: Invocation) -> tuple[str, int]:
    stored = orjson.loads(invocation.event)["Records"][0]["s3"]["object"]
    return stored["key"], stored["size"]


@pytest.fixture
def world(redis: Redis, broker: BrokerSettings) -> _World:
    return _World(redis, broker)


def test_an_older_write_is_dropped_once_a_newer_one_is_handled(world: _World) -> None:
    """It is counted, and its function's log says why."""
    world.tell("a", 2)
    assert world.deliver() is not None
    world.end(0, None)
    world.tell("a", 1)

    assert world.deliver() is None
    assert world.redis.hget(keys.counters("f"), "superseded") == b"1"
    assert not world.redis.keys(keys.invocation("*"))
    logged: Any = world.redis.xrevrange(keys.logs("f"), count=1)
    [(_, entry)] = logged
    assert b"a newer write of its key has been handled" in entry[b"text"]


def test_a_retry_of_an_older_write_is_dropped_too(world: _World) -> None:
    """What failed first and was to be tried again is no better than what comes late."""
    world.tell("a", 1)
    world.deliver()
    world.end(0, FAULT)
    world.tell("a", 2)
    world.deliver()
    world.end(0, None)
    world.let_time_pass()

    assert world.deliver() is None
    assert world.handled == [("a", 2)]


def test_an_older_write_is_delivered_while_the_newer_has_only_failed(world: _World) -> None:
    """Handled is what has succeeded: nothing is dropped for the sake of what was not done."""
    world.tell("a", 2)
    world.deliver()
    world.end(0, FAULT)
    world.tell("a", 1)

    assert world.deliver() is not None


def test_two_writes_of_one_key_take_turns(world: _World) -> None:
    """The second waits, others go on meanwhile, and it is run once the first has ended."""
    for key, number in (("a", 1), ("a", 2), ("b", 3)):
        world.tell(key, number)
    begun = [world.deliver(-1) for _ in range(3)]

    assert [_write(each) for each in begun if each] == [("a", 1), ("b", 3)]
    world.end(0, None)
    world.let_time_pass()
    second = world.deliver()
    assert second is not None
    assert _write(second) == ("a", 2)


def test_what_waits_does_not_go_round_and_round(world: _World) -> None:
    """While its key is at work it is in nobody's queue."""
    world.tell("a", 1)
    world.tell("a", 2)
    world.deliver(-1)
    world.deliver(-1)

    assert not world.redis.exists(keys.queue("f"))
    assert world.redis.zcard(keys.DELAYED) == 1


def test_a_dead_workers_write_does_not_hold_up_its_key(world: _World) -> None:
    """What it held is queued again, and whichever of the key comes first begins."""
    world.tell("a", 1)
    world.deliver()
    world.running.clear()
    world.redis.delete(keys.worker_alive("w"))
    world.redis.delete(keys.PREFIX + "reaping")  # nobody was away, though this machine stood still
    Reaper(world.redis, "us-east-1").bury_workers()
    world.redis.set(keys.worker_alive("w"), "1")

    assert world.deliver() is not None


def test_what_is_remembered_of_a_key_expires(world: _World) -> None:
    """Bounded by time: events live for 6 hours at most."""
    world.tell("a", 1)
    world.deliver()
    world.end(0, None)
    [key] = world.redis.keys(keys.PREFIX + "order:*")

    assert 21_600 < int(world.redis.ttl(key)) <= 22_200


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from("ab"), st.integers(1, 6)),
        st.tuples(st.just("deliver"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("time")),
    ),
    max_size=40,
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_steps)
def test_whatever_happens_order_holds(
    redis: Redis, broker: BrokerSettings, steps: list[tuple[Any, ...]]
) -> None:
    """Writes told in any order, delivered in any order, failing, retried: `_World` looks on.

    In the end, when everything has had its turn, the newest write of each key has been handled.
    """
    redis.flushall()
    world = _World(redis, broker)
    told: set[tuple[Any, ...]] = set()
    for step in steps:
        if step[0] == "tell":
            world.tell(*step[1:])
            told.add(step[1:])
        elif step[0] == "deliver":
            world.deliver(step[1])
        elif step[0] == "end":
            world.end(step[1], FAULT if step[2] and not _is_last_chance(world) else None)
        else:
            world.let_time_pass()
    _let_all_end(world)

    for key in {key for key, _ in told}:
        assert max(each for each in told if each[0] == key) in world.handled


def _is_last_chance(world: _World) -> bool:
    """Failing once more would make a dead letter."""
    return any(each.failures >= 2 for each in world.running)


def _let_all_end(world: _World) -> None:
    for _ in range(200):
        if not world.redis.keys(keys.invocation("*")):
            return
        world.end(0, None)
        world.let_time_pass()
        world.deliver()
    pytest.fail("something never had its turn")


_hex = st.text("0123456789ABCDEFabcdef", min_size=1, max_size=6)


@given(one=_hex, other=_hex)
def test_places_compare_as_sequencers_do(one: str, other: str) -> None:
    """S3: add zeros on the right of the shorter, compare as texts."""
    width = max(len(one), len(other))
    first, second = (each.upper().ljust(width, "0") for each in (one, other))
    places = ordering.place(one), ordering.place(other)

    assert (places[0] < places[1]) == (first < second)
    assert (places[0] == places[1]) == (first == second)
