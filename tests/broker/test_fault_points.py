"""Fault points: what goes wrong between any two commands of intake, reaper and worker.

A life of several events is led once for each command in it. At that command its answer is lost, or
it is not sent, or the process stands still until others have taken it for dead and done all of its
work. Whatever comes of it, everything is handled once in effect, and nothing is left. What is
killed between two commands: tests/broker/test_states.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as Disconnected

from broker import intake as intakes
from broker import keys
from broker.connection import UNAVAILABLE
from broker.intake import Intake
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads
from workers.bookkeeper import Bookkeeper

FUNCTIONS = ("crop", "index")
KEYS = ("a.jpg", "b.jpg")
FAULT = FunctionFault("ValueError", "no photo")
#: Rounds in which all must have come to its end.
ROUNDS = 40

Command = Callable[[], Any]
Act = Callable[[Command], Any]


@dataclass
class _Seam:
    """Does something at one of the commands that pass it."""

    at: int
    act: Act
    passed: int = 0

    def go(self, command: Command) -> Any:
        self.passed += 1
        return self.act(command) if self.passed == self.at else command()


class _Seamed(Redis):
    """A client whose commands pass a seam; a pipeline counts as one."""

    seam = _Seam(0, lambda command: command())

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        return self.seam.go(lambda: super(_Seamed, self).execute_command(*arguments, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> _SeamedPipeline:
        options = (self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline = _SeamedPipeline(*options)
        pipeline.owner = self
        return pipeline


class _SeamedPipeline(Pipeline):
    owner: _Seamed

    def execute(self, raise_on_error: bool = True) -> Any:
        if not self.command_stack:
            return []
        return self.owner.seam.go(lambda: super(_SeamedPipeline, self).execute(raise_on_error))


class _Host:
    """An intake and a worker on one client; whatever Redis does, they go on."""

    def __init__(self, redis: Redis, name: str, settings: BrokerSettings) -> None:
        self._redis, self._name = redis, name
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(intakes, "connect", lambda _: redis)
            deployments = uploads("bucketwheel")
            self._intake = Intake(settings, _functions, deployments, "us-east-1")
        self._loop = asyncio.new_event_loop()
        self._bookkeeper = Bookkeeper(Ledger(redis, name, settings), self._loop)

    def close(self) -> None:
        self._loop.close()

    def live(self) -> None:
        """One round of all that it does."""
        self._try(self._announce)
        if self._try(lambda: self._redis.llen(keys.EVENTS)) or self._has_taken():
            self._try(self._take)
        self._try(Reaper(self._redis).run_once)
        for function in FUNCTIONS:
            self._try(lambda function=function: self._work(function))  # type: ignore[misc]
        self._carry()

    def _announce(self) -> None:
        """As the lease does."""
        self._redis.sadd(keys.WORKERS, self._name)
        self._redis.set(keys.worker_alive(self._name), "1")

    def _has_taken(self) -> bool:
        return bool(self._try(lambda: self._redis.llen(keys.inflight(self._intake.id))))

    def _take(self) -> None:
        try:
            self._intake.run_once()
        except UNAVAILABLE:
            self._intake._generation = None  # as `start` does
            raise

    def _work(self, function: str) -> None:
        while message := self._redis.rpop(keys.queue(function)):
            for id in delivered(message):  # type: ignore[arg-type]
                self._bookkeeper.claim(Claim(id, function), self._run)
            self._carry()

    def _run(self, begun: object) -> None:
        """The function: `b.jpg` fails the first time."""
        if isinstance(begun, Invocation):
            fails = b"b.jpg" in begun.event and not begun.failures
            outcome = Outcome(begun, None if fails else b"1", FAULT if fails else None, 1.0, 30)
            self._bookkeeper.close(Closing(outcome, 1), lambda current: None)

    def _carry(self) -> None:
        """As the bookkeeper's thread does, until nothing waits."""
        keeper = self._bookkeeper
        while keeper._claims or keeper._closings:
            self._try(keeper.run_once)
            self._loop.run_until_complete(asyncio.sleep(0))
        keeper._next_comparison = 0.0
        self._try(keeper._compare)

    @staticmethod
    def _try(step: Command) -> Any:
        try:
            return step()
        except UNAVAILABLE:
            return None


def _functions() -> dict[str, FunctionConfiguration]:
    return {
        name: FunctionConfiguration(
            name=name,
            handler="app.handler",
            triggers=(Trigger(bucket="photos"),),
            code_sha256="0" * 64,
            deployed_at=datetime.now(UTC),
        )
        for name in FUNCTIONS
    }


def _notification(key: str) -> bytes:
    stored = {"key": key, "size": 3, "eTag": "e", "sequencer": "A1"}
    s3 = {"bucket": {"name": "photos"}, "object": stored}
    return orjson.dumps([{"Event": [{"eventName": "s3:ObjectCreated:Put", "s3": s3}]}])


def _let_time_pass(redis: Redis, dead: bool) -> None:
    """Delays are over, messages are overdue; and leases have lapsed, if somebody is dead."""
    then = int((time.time() - 3_600) * 1000)
    for name in (keys.DELAYED, *map(keys.queued, FUNCTIONS)):
        waiting: Any = redis.zrange(name, 0, -1)
        for id in waiting:
            redis.zadd(name, {id: then})
    if dead:
        redis.delete(keys.PREFIX + "reaping")  # nobody was away, though this machine stood still
        for key in redis.keys(keys.PREFIX + "*:alive"):
            redis.delete(key)


def _left(redis: Redis) -> list[str]:
    """Keys of work in flight."""
    kinds = ("invocation:", "queued:", "delayed", "running:", "concurrent:", "events", "intake:")
    every: Any = redis.keys(keys.PREFIX + "*")
    found = [key.decode().removeprefix(keys.PREFIX) for key in every]
    return [key for key in found if key.startswith(kinds) and not key.endswith(("alive", "taken"))]


def _live_on(redis: Redis, host: _Host, dead: bool = False) -> None:
    """Until nothing is left."""
    for _ in range(ROUNDS):
        host.live()
        if not _left(redis):
            return
        _let_time_pass(redis, dead)
    raise AssertionError(f"after {ROUNDS} rounds is left: {_left(redis)}")


def _refuse(command: Command) -> Any:
    raise Disconnected("it was not sent")


def _lose(command: Command) -> Any:
    command()
    raise Disconnected("its answer was lost")


@pytest.fixture
def settings(redis_url: str) -> BrokerSettings:
    return BrokerSettings(redis_url=SecretStr(redis_url), retry_delay=0.001)


@pytest.fixture
def seamed(redis_url: str) -> Iterator[_Seamed]:
    with _Seamed.from_url(redis_url) as found:
        yield found


def _tried_everywhere(
    redis: Redis, seamed: _Seamed, settings: BrokerSettings, act: Act, fewest: int
) -> None:
    """Lead the life with this at its first command, its second, and so on."""
    for at in range(1, 1_000):
        redis.flushall()
        # The store tells of one twice, and of one in no known way.
        told = [*map(_notification, KEYS), _notification(KEYS[0]), b"no notification"]
        redis.rpush(keys.EVENTS, *told)
        seamed.seam = seam = _Seam(at, act)
        host = _Host(seamed, "w1", settings)
        _live_on(redis, host)
        host.close()
        _expect_all_once(redis, f"at command {at}")
        if seam.passed < at:
            assert at > fewest
            return
    pytest.fail("the life has no end")


def _expect_all_once(redis: Redis, where: str) -> None:
    for function in FUNCTIONS:
        found: Any = redis.hgetall(keys.counters(function))
        assert found[b"succeeded"] == b"2", where
        assert b"dead" not in found, where
    letters: Any = redis.hvals(keys.DEAD)
    assert len(letters) == 1, where
    assert redis.get(keys.PREFIX + "events:taken") == b"4", where


@pytest.mark.parametrize("act", [_refuse, _lose], ids=["not sent", "answer lost"])
def test_a_connection_that_ends_at_any_command(
    redis: Redis, seamed: _Seamed, settings: BrokerSettings, act: Act
) -> None:
    """The process goes on, and does not know whether the command was carried out."""
    _tried_everywhere(redis, seamed, settings, act, 40)


def test_a_process_that_stands_still_at_any_command(
    redis: Redis, seamed: _Seamed, settings: BrokerSettings
) -> None:
    """Others take it for dead and do all of its work; then it goes on where it stood."""

    def stand_still(command: Command) -> Any:
        other = _Host(redis, "w2", settings)
        _let_time_pass(redis, dead=True)
        _live_on(redis, other, dead=True)
        other.close()
        return command()

    _tried_everywhere(redis, seamed, settings, stand_still, 40)
