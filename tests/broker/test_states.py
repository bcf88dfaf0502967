"""Every state an invocation can be in is left again, whoever dies between whichever two commands.

A life that has all of them (taken, published, begun, failed, retried, begun, ended, told) is ended
after each of its commands in turn; then others come, and must bring it to the same end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.client import Pipeline

from broker import intake as intakes
from broker import keys
from broker.intake import Intake
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.outbox import Outbox
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads

FAULT = FunctionFault("ValueError", "no photo")
#: Rounds in which others must have brought everything to its end.
ROUNDS = 30


class _Killed(BaseException):
    """The process has ended here."""


class _Mortal(Redis):
    """The client of a process that is killed after so many commands."""

    left = 1_000_000

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        self.spend(1)
        return super().execute_command(*arguments, **options)

    def spend(self, commands: int) -> None:
        """Count commands that are about to be sent."""
        if self.left < commands:
            raise _Killed
        self.left -= commands

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> _MortalPipeline:
        options = (self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline = _MortalPipeline(*options)
        pipeline.owner, pipeline.is_whole = self, transaction
        return pipeline


class _MortalPipeline(Pipeline):
    """Of its commands, those are carried out that were sent before the end."""

    owner: _Mortal
    #: Whether all of it is carried out, or nothing.
    is_whole: bool

    def execute(self, raise_on_error: bool = True) -> Any:
        wanted = len(self.command_stack)
        if wanted <= self.owner.left:
            self.owner.spend(wanted)
            return super().execute(raise_on_error)
        if not self.is_whole:
            self.command_stack = self.command_stack[: self.owner.left]
            super().execute(raise_on_error)
        raise _Killed


@pytest.fixture
def settings(redis_url: str) -> BrokerSettings:
    return BrokerSettings(redis_url=SecretStr(redis_url), retry_delay=0.001)


@pytest.fixture
def mortal(redis: Redis, redis_url: str) -> Iterator[_Mortal]:
    with _Mortal.from_url(redis_url) as found:
        yield found


def _functions() -> dict[str, FunctionConfiguration]:
    function = FunctionConfiguration(
        name="crop",
        handler="app.crop",
        triggers=(Trigger(bucket="photos"),),
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )
    return {"crop": function}


def _notification() -> bytes:
    stored = {"key": "a.jpg", "size": 3, "eTag": "e", "sequencer": "A1"}
    s3 = {"bucket": {"name": "photos"}, "object": stored}
    return orjson.dumps([{"Event": [{"eventName": "s3:ObjectCreated:Put", "s3": s3}]}])


def _intake(settings: BrokerSettings, redis: Redis) -> Intake:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intakes, "connect", lambda _: redis)
        return Intake(settings, _functions, uploads("bucketwheel"), "us-east-1")


class _Worker:
    """What a worker does to Redis, one message at a time."""

    def __init__(self, redis: Redis, name: str, settings: BrokerSettings) -> None:
        self._redis = redis
        redis.sadd(keys.WORKERS, name)
        redis.set(keys.worker_alive(name), "1")
        self._ledger = Ledger(redis, name, settings)
        self._outbox = Outbox(redis)

    def work(self, fault: FunctionFault | None = None) -> None:
        """Take a message, if there is one, and run what it delivers."""
        message: Any = self._redis.rpop(keys.queue("crop"))
        if message is None:
            return
        (id,) = delivered(message)
        _, begun = self._ledger.exchange([], [Claim(id, "crop")])
        if isinstance(begun[0], Invocation):
            outcome = Outcome(begun[0], None if fault else b"1", fault, 1.0, 30)
            self._ledger.exchange([Closing(outcome, 1, on_success="redis:ends")], [])

    def deliver(self) -> None:
        """Deliver what has been told."""
        for each in self._outbox.take("crop", 10):
            self._outbox.append(each, "ends")


def _live(redis: Redis, settings: BrokerSettings) -> None:
    """A whole life: the first attempt fails, the second succeeds."""
    worker = _Worker(redis, "w1", settings)
    intake = _intake(settings, redis)
    intake.run_once()
    worker.work(FAULT)
    Reaper(redis).retry_due()
    worker.work()
    worker.deliver()


def _bury_all(redis: Redis) -> None:
    """Let the time pass after which the dead are known to be dead."""
    then = int((time.time() - 3_600) * 1000)
    redis.delete(keys.PREFIX + "reaping")  # nobody was away, though this machine stood still
    for key in redis.keys(keys.PREFIX + "*:alive"):
        redis.delete(key)
    for name in (keys.queued("crop"), keys.DELAYED, keys.outbox("crop")):
        waiting: Any = redis.zrange(name, 0, -1)
        for id in waiting:
            redis.zadd(name, {id: then})


def _recover(redis: Redis, settings: BrokerSettings) -> int:
    """Others come; the rounds in which nothing was left to do."""
    reaper, intake = Reaper(redis), _intake(settings, redis)
    reaper.use(_functions())
    for done in range(1, ROUNDS):
        _bury_all(redis)
        worker = _Worker(redis, f"later{done}", settings)
        reaper.run_once()
        if redis.llen(keys.EVENTS):
            intake.run_once()
        worker.work()
        worker.deliver()
        if redis.llen("ends") and not _left(redis):
            return done
    return ROUNDS


def _left(redis: Redis) -> list[str]:
    """Keys of work in flight."""
    kinds = ("invocation:", "queued:", "delayed", "running:", "concurrent:", "out", "events")
    every: Any = redis.keys(keys.PREFIX + "*")
    found = [key.decode().removeprefix(keys.PREFIX) for key in every]
    left = [key for key in found if key.startswith(kinds)]
    return [key for key in left if key not in ("outboxes", "events:taken")]


def test_no_state_is_for_ever(redis: Redis, mortal: _Mortal, settings: BrokerSettings) -> None:
    """Killed after its first command, its second, and so on: always the same end, told once."""
    for commands in range(1_000):
        redis.flushall()
        redis.rpush(keys.EVENTS, _notification())
        mortal.left = commands
        try:
            _live(mortal, settings)
            survived = True
        except _Killed:
            survived = False
        rounds = 0 if survived and not _left(redis) else _recover(redis, settings)

        assert rounds < ROUNDS, f"killed after {commands} commands: {_left(redis)} is left"
        assert redis.llen("ends") == 1, f"killed after {commands} commands"
        assert not redis.hlen(keys.DEAD)
        if survived:
            assert commands > 20
            return
    pytest.fail("the life has no end")


def test_a_reaper_that_acts_on_an_old_look_does_not_strike_off_a_new_retry(
    redis: Redis, settings: BrokerSettings
) -> None:
    """It was stopped between its look and its deed; meanwhile the retry was run, and failed."""
    redis.rpush(keys.EVENTS, _notification())
    _intake(settings, redis).run_once()
    _Worker(redis, "w1", settings).work(FAULT)
    delayed: Any = redis.zrange(keys.DELAYED, 0, -1)
    (id,) = delayed
    found: Any = redis.hmget(keys.invocation(id.decode()), "function", "attempt")
    redis.hset(keys.invocation(id.decode()), "attempt", 7)  # run again, and delayed again
    script = Reaper(redis)._requeue
    script.run(redis, "delayed", 0, id, found[0], found[1], "message", "", "", "", "", "")

    assert redis.zrange(keys.DELAYED, 0, -1) == [id]


def test_a_worker_that_was_struck_off_is_looked_for_again(
    redis: Redis, settings: BrokerSettings
) -> None:
    """It was taken for dead while it was stopped; it takes work, and dies before it tells of it."""
    redis.rpush(keys.EVENTS, _notification())
    _intake(settings, redis).run_once()
    message: Any = redis.lindex(keys.queue("crop"), 0)
    redis.srem(keys.WORKERS, "w1")
    Ledger(redis, "w1", settings).exchange([], [Claim(delivered(message)[0], "crop")])

    assert Reaper(redis).bury_workers() == 1


def test_a_worker_that_holds_something_is_not_struck_off(redis: Redis) -> None:
    """It has begun it after the reaper looked."""
    redis.sadd(keys.WORKERS, "w1")
    redis.hset(keys.running("w1"), "id", "crop")
    reaper = Reaper(redis)

    assert reaper._bury.run(redis, "w1") == 0
    redis.delete(keys.running("w1"))
    assert reaper._bury.run(redis, "w1") == 1
