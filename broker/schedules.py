"""Schedules: functions that the clock invokes, once, however many intakes there are.

Each schedule's last firing is remembered in Redis, and a firing is published in one transaction
that moves it on from where it was found: of several intakes one succeeds. What was due while
nothing ran is made up for once, or skipped, as the schedule says. The clock is Redis's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from redis import Redis

from broker import keys
from broker.arn import ACCOUNT
from broker.clock import milliseconds
from broker.ledger import invocation_id
from broker.publication import Firing, NewInvocation, Publication, Publisher
from storage.configuration import FunctionConfiguration, Schedule
from storage.schedules import Cron, Rate, compiled

log = logging.getLogger("bucketwheel.schedules")

#: What may pass until a firing is one that was missed: AWS fires within the minute.
PROMPT: Final = timedelta(minutes=1)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timetable:
    """One schedule of one function."""

    function: str
    schedule: Schedule
    when: Rate | Cron

    @property
    def name(self) -> str:
        """Its field in Redis."""
        return f"{self.function} {self.schedule.expression}"

    def next(self, last: datetime) -> datetime:
        """When it must be looked at again."""
        return self.when.after(last) or _NEVER

    def is_fired(self, due: datetime, now: datetime) -> bool:
        """Whether what was due then is fired now."""
        return self.schedule.catch_up or now - due < PROMPT

    def event(self, id: str, due: datetime, region: str) -> bytes:
        """What EventBridge sends, or what is said to be sent instead."""
        if self.schedule.input is not None:
            return self.schedule.input.encode()
        return orjson.dumps(
            {
                "version": "0",
                "id": id,
                "detail-type": "Scheduled Event",
                "source": "aws.events",
                "account": ACCOUNT,
                "time": f"{due:%Y-%m-%dT%H:%M:%SZ}",
                "region": region,
                "resources": [f"arn:aws:events:{region}:{ACCOUNT}:rule/{self.function}"],
                "detail": {},
            }
        )


class Schedules:
    """Fires what is due; use, run_once."""

    def __init__(self, redis: Redis, publisher: Publisher, region: str) -> None:
        self._redis = redis
        self._publisher = publisher
        self._region = region
        self._timetables: dict[str, Timetable] = {}
        #: When each was due last, as far as is known here.
        self._last: dict[str, datetime] = {}
        self._next = _NEVER

    def use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        """Take the deployed functions as they now are; schedules that are gone are forgotten."""
        self._timetables = {each.name: each for each in _timetables(functions)}
        self._last = {name: at for name, at in self._last.items() if name in self._timetables}
        self._next = datetime.min.replace(tzinfo=UTC)
        known: Any = self._redis.hkeys(keys.SCHEDULES)
        gone = [each for each in known if each.decode() not in self._timetables]
        if gone:
            self._redis.hdel(keys.SCHEDULES, *gone)

    def run_once(self, generation: bytes) -> int:
        """Fire what is due; returns how many were fired here.

        `generation` is that of the functions in use.
        """
        if not self._timetables:
            return 0
        now = self._now()
        if now < self._next:
            return 0
        self._read(now)
        fired = sum(self._look(each, now, generation) for each in self._timetables.values())
        self._next = min(each.next(self._last[name]) for name, each in self._timetables.items())
        return fired

    def _read(self, now: datetime) -> None:
        """Read when each was due last; one that Redis does not know counts from now on."""
        pipeline = self._redis.pipeline()
        for name in self._timetables:
            pipeline.hsetnx(keys.SCHEDULES, name, str(_milliseconds(self._last.get(name, now))))
        pipeline.hmget(keys.SCHEDULES, list(self._timetables))
        for name, found in zip(self._timetables, pipeline.execute()[-1], strict=True):
            self._last[name] = _moment(int(found))

    def _look(self, timetable: Timetable, now: datetime, generation: bytes) -> bool:
        """Fire one schedule if it is due, or skip what it has missed."""
        last = self._last[timetable.name]
        due = timetable.when.latest(last, now)
        if due is None:
            return False
        publication = Publication(
            firings=[Firing(timetable.name, _milliseconds(last), _milliseconds(due))]
        )
        is_fired = timetable.is_fired(due, now)
        if is_fired:
            publication.invocations.append(self._invocation(timetable, due))
        else:
            log.warning("%s was due at %s, and is skipped", timetable.name, due)
        if self._publisher.publish(publication, generation) < 0:
            return False  # another has fired it, or it is looked at again with new functions
        self._last[timetable.name] = due
        return is_fired

    def _invocation(self, timetable: Timetable, due: datetime) -> NewInvocation:
        expression, function = timetable.schedule.expression, timetable.function
        id = invocation_id(f"schedule\0{expression}\0{_milliseconds(due)}", function)
        return NewInvocation(id, function, timetable.event(id, due, self._region), expression)

    def _now(self) -> datetime:
        return _moment(milliseconds(self._redis))


def _timetables(functions: Mapping[str, FunctionConfiguration]) -> Iterator[Timetable]:
    for name, function in functions.items():
        for schedule in function.schedules:
            yield Timetable(name, schedule, compiled(schedule.expression))


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC) + timedelta(
        milliseconds=milliseconds % 1000
    )


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
