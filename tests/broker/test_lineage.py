"""Lineage: what a function writes is one generation further, and the sixteenth is the last."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis import Redis

from broker import keys, lineage
from broker.intake import Intake
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads
from tests.conftest import wait_until

SDK, OTHER = "Boto3/1.40 app/{}", "MinIO (Linux; x86_64) minio-py/7.2.0"


class _World:
    """A store, an intake and a worker whose functions write into their own trigger."""

    def __init__(self, redis: Redis, broker: BrokerSettings, **further: Any) -> None:
        self.redis = redis
        self.functions = {name: _function(name, **further) for name in ("loop", "ping", "pong")}
        self.intake = Intake(broker, lambda: self.functions, uploads("bucketwheel"), "us-east-1")
        self.ledger = Ledger(redis, "w", broker)
        redis.set(keys.worker_alive("w"), "1")

    def write(self, bucket: str, principal: str = "person", agent: str = "") -> None:
        """Somebody writes an object, and the intake is quick."""
        self.push(bucket, principal, agent)
        self.intake.run_once()

    def push(self, bucket: str, principal: str, agent: str) -> None:
        """Somebody writes an object."""
        moment = self.microseconds() * 1000
        self.redis.rpush(keys.EVENTS, _notification(bucket, principal, agent, moment))

    def microseconds(self) -> int:
        """Redis's clock."""
        found: Any = self.redis.time()
        return int(found[0]) * 1_000_000 + int(found[1])

    def let_clock_go_on(self) -> None:
        """Wait until what follows is well after what was, also by what the intake takes for it."""
        begun = self.microseconds() + 1_000 * self.intake._lineage._clock.by_redis(0)
        wait_until(lambda: self.microseconds() > begun + 50_000, "50 ms have passed")

    def begin(self, function: str, environment: str) -> Invocation | None:
        """The worker takes what waits, gives it to an environment, and tells of that."""
        message: Any = self.redis.rpop(keys.queue(function))
        if message is None:
            return None
        [id] = delivered(message)
        _, [begun] = self.ledger.exchange([], [Claim(id, function)])
        assert isinstance(begun, Invocation)
        self.ledger.trace([lineage.trace(begun, environment)])
        return begun

    def end(self, invocation: Invocation, fault: FunctionFault | None = None) -> None:
        """It ends."""
        outcome = Outcome(invocation, b"null", fault, 1.0, 30)
        self.ledger.exchange([Closing(outcome, retries=0)], [])

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        found: Any = self.redis.hvals(keys.DEAD)
        return [orjson.loads(each) for each in found]


def _function(name: str, **further: Any) -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name,
        handler="app.handler",
        triggers=(Trigger(bucket=f"{name}-in"),),
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
        **further,
    )


def _notification(bucket: str, principal: str, agent: str, moment: int) -> bytes:
    """As MinIO tells it: the sequencer is the moment, in nanoseconds."""
    etag = uuid.uuid4().hex
    stored = {"key": "a", "size": 1, "eTag": etag, "sequencer": f"{moment:016X}"}
    record = {
        "eventSource": "minio:s3",
        "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": principal},
        "source": {"userAgent": agent},
        "s3": {"bucket": {"name": bucket}, "object": stored},
    }
    return orjson.dumps([{"Event": [record]}])


@pytest.fixture
def world(redis: Redis, broker: BrokerSettings) -> _World:
    return _World(redis, broker)


def _go_round(world: _World, agent: str, ends_first: bool) -> int:
    """Let a function write into its own trigger for as long as it is run; how often it was."""
    world.write("loop-in")
    runs, environment = 0, uuid.uuid4().hex
    while runs < 40 and (begun := world.begin("loop", environment)) is not None:
        runs += 1
        if ends_first:
            world.end(begun)
        world.write("loop-in", "bucketwheel-function-loop", agent.format(environment))
        if not ends_first:
            world.end(begun)
    return runs


@pytest.mark.parametrize("agent", [SDK, OTHER, "", "app/mine"], ids=["sdk", "other", "none", "own"])
@pytest.mark.parametrize("ends_first", [False, True], ids=["before", "after"])
def test_a_function_that_feeds_itself_stops_at_sixteen(
    world: _World, agent: str, ends_first: bool
) -> None:
    """Whatever its client says, and whether its write comes back before or after its end."""
    assert _go_round(world, agent, ends_first) == lineage.MOST

    [letter] = world.letters()
    assert letter["fault"]["type"] == "RecursiveInvocationException"
    assert len(letter["fault"]["trace"]) == lineage.MOST
    assert all(step.startswith("loop") for step in letter["fault"]["trace"])
    assert world.redis.hget(keys.counters("loop"), "recursive_dropped") == b"1"


def test_who_allows_it_goes_on(redis: Redis, broker: BrokerSettings) -> None:
    """AWS's opt-out; what is kept of the chain stays bounded."""
    world = _World(redis, broker, recursive_loop="Allow")

    assert _go_round(world, SDK, ends_first=False) == 40
    assert not world.letters()
    [entry] = redis.keys(keys.invocation("*"))
    assert redis.hget(entry, "generation") == b"16"


def test_two_functions_that_feed_each_other_stop(world: _World) -> None:
    """The chain counts, not the function; the dead letter names both."""
    world.write("ping-in")
    names, runs = ("ping", "pong"), 0
    environments = {name: uuid.uuid4().hex for name in names}
    while runs < 40:
        name, other = names[runs % 2], names[(runs + 1) % 2]
        begun = world.begin(name, environments[name])
        if begun is None:
            break
        runs += 1
        agent = SDK.format(environments[name])
        world.write(f"{other}-in", f"bucketwheel-function-{name}", agent)
        world.end(begun)

    assert runs == lineage.MOST
    [letter] = world.letters()
    assert {step.split()[0] for step in letter["fault"]["trace"]} == {"ping", "pong"}


def test_many_objects_through_one_environment_are_many_chains(world: _World) -> None:
    """A function that meets its trigger a few times on purpose may do so as often as it likes."""
    environment = uuid.uuid4().hex
    agent = SDK.format(environment)
    for _ in range(40):
        world.write("loop-in")
        for _ in range(3):
            begun = world.begin("loop", environment)
            assert begun is not None
            world.write("loop-in", "bucketwheel-function-loop", agent)
            world.end(begun)
        last = world.begin("loop", environment)
        assert last is not None
        assert len(last.chain) == 3
        world.end(last)

    assert not world.letters()


def test_environments_side_by_side_are_told_apart(world: _World) -> None:
    """What one writes does not count for the other, which is far along a chain."""
    far, fresh = uuid.uuid4().hex, uuid.uuid4().hex
    world.ledger.trace([lineage.Trace(far, tuple(f"loop {n}" for n in range(12)))])

    world.write("loop-in", "bucketwheel-function-loop", SDK.format(fresh))
    first = world.begin("loop", fresh)
    world.write("loop-in", "bucketwheel-function-loop", SDK.format(far))
    second = world.begin("loop", fresh)

    assert first is not None
    assert second is not None
    assert (len(first.chain), len(second.chain)) == (1, 12)


def test_what_people_write_has_no_lineage(world: _World) -> None:
    """Also when their client says an environment's name: the principal is not a function's."""
    environment = uuid.uuid4().hex
    world.ledger.trace([lineage.Trace(environment, ("loop 1", "loop 2"))])
    world.write("loop-in", "bucketwheel-user", SDK.format(environment))
    begun = world.begin("loop", environment)

    assert begun is not None
    assert begun.chain == ()


def test_a_late_intake_tells_an_environments_invocations_apart(world: _World) -> None:
    """A write is its own invocation's, though the environment has got the next one meanwhile."""
    environment = uuid.uuid4().hex
    principal, agent = "bucketwheel-function-loop", SDK.format(environment)
    chain = tuple(f"loop {n}" for n in range(12))
    world.ledger.trace([lineage.Trace(environment, ())])
    world.push("loop-in", principal, agent)  # the store's clock is known by this
    world.intake.run_once()
    assert world.begin("loop", uuid.uuid4().hex) is not None

    world.ledger.trace([lineage.Trace(environment, chain)])
    world.let_clock_go_on()
    world.push("loop-in", principal, agent)
    world.let_clock_go_on()
    world.ledger.trace([lineage.Trace(environment, ())])
    world.intake.run_once()
    begun = world.begin("loop", uuid.uuid4().hex)

    assert begun is not None
    assert begun.chain == chain


def test_what_is_remembered_expires(world: _World) -> None:
    """Nothing that is known of environments and generations stays for ever."""
    _go_round(world, OTHER, ends_first=False)
    kept: Any = [*world.redis.keys(keys.lineage("*")), *world.redis.keys(keys.lately("*"))]

    assert kept
    assert all(0 < int(world.redis.ttl(key)) <= 3_600 for key in kept)
    assert int(world.redis.hlen(keys.lately("loop"))) <= lineage.MOST
