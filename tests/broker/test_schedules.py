"""Schedules: what is due is fired once, however many intakes there are and whatever dies."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis import Redis

from broker import keys
from broker.message import delivered
from broker.publication import Publisher
from broker.schedules import Schedules
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Schedule

RATE = "rate(5 minutes)"
MINUTE = 60_000


def _function(*schedules: Schedule, name: str = "tidy") -> dict[str, FunctionConfiguration]:
    function = FunctionConfiguration(
        name=name,
        handler="app.handler",
        schedules=schedules,
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )
    return {name: function}


def _schedules(
    redis: Redis, broker: BrokerSettings, functions: dict[str, FunctionConfiguration]
) -> Schedules:
    found = Schedules(redis, Publisher(redis, broker), "eu-west-1")
    found.use(functions)
    return found


def _now(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _was_due(redis: Redis, ago: int, expression: str = RATE) -> int:
    """Have it remembered that a schedule was due so many milliseconds ago; returns when."""
    last = _now(redis) - ago
    redis.hset(keys.SCHEDULES, f"tidy {expression}", str(last))
    return last


def _last(redis: Redis, expression: str = RATE) -> int:
    found: Any = redis.hget(keys.SCHEDULES, f"tidy {expression}")
    return int(found)


def _events(redis: Redis) -> list[dict[str, Any]]:
    """Events that were fired and are queued."""
    messages: Any = redis.lrange(keys.queue("tidy"), 0, -1)
    ids = [id for each in messages for id in delivered(each)]
    return [orjson.loads(redis.hget(keys.invocation(id), "event") or b"") for id in ids]


def test_what_is_due_is_fired_with_eventbridges_event(redis: Redis, broker: BrokerSettings) -> None:
    """A handler written for AWS finds every field it may look at."""
    last = _was_due(redis, 5 * MINUTE + 1_000)

    assert _schedules(redis, broker, _function(Schedule(expression=RATE))).run_once(b"") == 1
    [event] = _events(redis)
    due = datetime.fromtimestamp(last // 1000 + 300, UTC)
    assert event.pop("id")
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": f"{due:%Y-%m-%dT%H:%M:%SZ}",
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:000000000000:rule/tidy"],
        "detail": {},
    }
    assert _last(redis) == last + 5 * MINUTE


def test_a_new_schedule_counts_from_now_on(redis: Redis, broker: BrokerSettings) -> None:
    """Neither a deployment nor a Redis that has lost its data fires anything."""
    schedules = _schedules(redis, broker, _function(Schedule(expression=RATE, catch_up=True)))

    assert schedules.run_once(b"") == 0
    assert 0 <= _now(redis) - _last(redis) < MINUTE


def test_what_redis_has_lost_is_remembered_by_the_intake(
    redis: Redis, broker: BrokerSettings
) -> None:
    """An intake that lives keeps the step of a rate when Redis comes back empty."""
    functions = _function(Schedule(expression=RATE))
    last = _was_due(redis, MINUTE)
    schedules = _schedules(redis, broker, functions)
    schedules.run_once(b"")
    redis.flushall()
    schedules.use(functions)
    schedules.run_once(b"")

    assert _last(redis) == last


@pytest.mark.parametrize(("catch_up", "fired"), [(True, 1), (False, 0)])
def test_what_was_missed_is_made_up_for_once_or_skipped(
    redis: Redis, broker: BrokerSettings, catch_up: bool, fired: int
) -> None:
    """After a night without intakes a rate of 5 minutes fires once at most, and keeps its step."""
    last = _was_due(redis, 600 * MINUTE + 2 * MINUTE)
    schedule = Schedule(expression=RATE, catch_up=catch_up)

    assert _schedules(redis, broker, _function(schedule)).run_once(b"") == fired
    assert len(_events(redis)) == fired
    assert _last(redis) == last + 600 * MINUTE


def test_what_is_late_by_less_than_a_minute_is_not_missed(
    redis: Redis, broker: BrokerSettings
) -> None:
    """AWS fires within the minute, too: a restart of the intakes skips nothing."""
    _was_due(redis, 5 * MINUTE + 50_000)

    assert _schedules(redis, broker, _function(Schedule(expression=RATE))).run_once(b"") == 1


def test_many_intakes_fire_once(redis: Redis, broker: BrokerSettings) -> None:
    """Who finds that another was faster fires nothing."""
    _was_due(redis, 5 * MINUTE)
    functions = _function(Schedule(expression=RATE))
    many = [_schedules(redis, broker, functions) for _ in range(8)]
    start, fired = threading.Barrier(len(many)), list[int]()

    def run(each: Schedules) -> None:
        start.wait(10)
        fired.append(each.run_once(b""))

    threads = [threading.Thread(target=run, args=(each,)) for each in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(fired) == [0] * 7 + [1]
    assert len(_events(redis)) == 1


def test_an_intake_that_slept_in_mid_firing_fires_nothing(
    redis: Redis, broker: BrokerSettings
) -> None:
    """What it read is old by then, and no memory of duplicates is needed to see that."""
    _was_due(redis, 5 * MINUTE)
    functions = _function(Schedule(expression=RATE, catch_up=True))
    sleeper = _schedules(redis, broker, functions)
    sleeper._read(sleeper._now())
    [timetable] = sleeper._timetables.values()
    assert _schedules(redis, broker, functions).run_once(b"") == 1
    for key in redis.scan_iter("bucketwheel:seen:*"):
        redis.delete(key)

    assert sleeper._look(timetable, sleeper._now(), b"") is False
    assert len(_events(redis)) == 1


def test_a_firing_by_stale_functions_does_nothing(redis: Redis, broker: BrokerSettings) -> None:
    """It is looked at again with those that are deployed now."""
    last = _was_due(redis, 5 * MINUTE)
    redis.incr(keys.GENERATION)
    schedules = _schedules(redis, broker, _function(Schedule(expression=RATE)))

    assert schedules.run_once(b"") == 0
    assert _last(redis) == last
    assert schedules.run_once(b"1") == 1


def test_nothing_is_read_until_something_is_due(redis: Redis, broker: BrokerSettings) -> None:
    """Between two firings a tick asks for the time, and for nothing else."""
    schedules = _schedules(redis, broker, _function(Schedule(expression=RATE)))
    schedules.run_once(b"")
    redis.config_resetstat()
    schedules.run_once(b"")

    commands: Any = redis.info("commandstats")
    assert {name for name in commands if "config" not in name} == {"cmdstat_time"}


def test_each_schedule_of_a_function_has_its_own_step(redis: Redis, broker: BrokerSettings) -> None:
    """One that is due takes no other along; a cron is due by the clock alone."""
    yearly = "cron(0 0 1 1 ? *)"
    _was_due(redis, 5 * MINUTE)
    fresh = _was_due(redis, 0, yearly)
    both = _function(Schedule(expression=RATE), Schedule(expression=yearly))

    assert _schedules(redis, broker, both).run_once(b"") == 1
    assert _last(redis, yearly) == fresh


def test_what_is_given_as_the_event_is_sent_as_it_is(redis: Redis, broker: BrokerSettings) -> None:
    """SAM's Input."""
    _was_due(redis, 5 * MINUTE)
    schedule = Schedule(expression=RATE, input='{"depth": 2}')
    _schedules(redis, broker, _function(schedule)).run_once(b"")

    assert _events(redis) == [{"depth": 2}]


def test_a_schedule_that_is_gone_is_forgotten(redis: Redis, broker: BrokerSettings) -> None:
    """What is remembered is bounded by what is deployed."""
    _was_due(redis, 5 * MINUTE)

    assert _schedules(redis, broker, {}).run_once(b"") == 0
    assert not redis.exists(keys.SCHEDULES)
