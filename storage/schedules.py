"""When a schedule is due: AWS's `rate(5 minutes)` and `cron(0 8 * * ? *)`, in UTC.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html

Nothing here looks at a clock: a moment goes in, and a moment comes out.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

#: Days of a month, by year and month, on which a term of an expression is due.
Days = Callable[[int, int], set[int]]

_UNITS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_DAY: Final = timedelta(days=1)
#: Saturday, by the number that AWS gives it.
_SATURDAY: Final = 7


@dataclass(frozen=True, slots=True)
class Rate:
    """Due again a period after it was due last."""

    period: timedelta

    def after(self, moment: datetime) -> datetime:
        """When it is due next, if it was due at this moment."""
        return moment + self.period

    def latest(self, since: datetime, now: datetime) -> datetime | None:
        """When it was due last, later than `since`, and not later than `now`."""
        periods = (now - since) // self.period
        return since + periods * self.period if periods > 0 else None


@dataclass(frozen=True, slots=True)
class Cron:
    """Due at these times of the days that all of the other fields allow."""

    times: tuple[time, ...]
    days: tuple[Days, ...]
    months: tuple[int, ...]
    years: tuple[int, ...]

    def after(self, moment: datetime) -> datetime | None:
        """When it is due next, later than this moment; None: never."""
        for day in self._days_from(moment.date()):
            for clock in self.times:
                due = datetime.combine(day, clock, UTC)
                if due > moment:
                    return due
        return None

    def latest(self, since: datetime, now: datetime) -> datetime | None:
        """When it was due last, later than `since`, and not later than `now`."""
        day = now.date()
        while day >= since.date():
            for clock in reversed(self.times) if self._is_on(day) else ():
                due = datetime.combine(day, clock, UTC)
                if since < due <= now:
                    return due
            day -= _DAY
        return None

    def _days_from(self, first: date) -> Iterator[date]:
        for year in self.years:
            for month in self.months:
                if (year, month) >= (first.year, first.month):
                    found = (date(year, month, day) for day in self._days_of(year, month))
                    yield from (day for day in found if day >= first)

    def _is_on(self, day: date) -> bool:
        if day.year not in self.years or day.month not in self.months:
            return False
        return day.day in self._days_of(day.year, day.month)

    def _days_of(self, year: int, month: int) -> list[int]:
        return sorted({day for days in self.days for day in days(year, month)})


def compiled(expression: str) -> Rate | Cron:
    """What an expression says.

    Raises:
        ValueError: it is no expression of AWS's; the message says what is wrong where.
    """
    found = re.fullmatch(r"\s*(rate|cron)\((.*)\)\s*", expression)
    if not found:
        raise ValueError(f"{expression!r} is neither rate(5 minutes) nor cron(0 8 * * ? *)")
    kind, inside = found.groups()
    return _rate(inside) if kind == "rate" else _cron(inside.upper())


# -- rate(value unit) ------------------------------------------------------------------------------


def _rate(inside: str) -> Rate:
    found = re.fullmatch(r"\s*([1-9][0-9]{0,5})\s+(minute|hour|day)(s?)\s*", inside)
    if not found:
        raise ValueError(
            f"rate({inside}) must be a whole number from 1, and minute, minutes, hour, hours, day"
            " or days"
        )
    number, unit, plural = int(found[1]), found[2], found[3]
    if (number == 1) == bool(plural):
        raise ValueError(f"rate({inside}): 1 goes with {unit}, any other number with {unit}s")
    return Rate(number * _UNITS[unit])


# -- cron(minutes hours day-of-month month day-of-week year) ---------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    """Whole numbers from `least` to `most`, which may have names."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    #: Whether the first follows the last, so that 22-2 are the hours around midnight.
    is_round: bool = True

    def numbers(self, text: str) -> tuple[int, ...]:
        """Those of a list: `1,5-9,*/15`."""
        return tuple(sorted({each for part in text.split(",") for each in self.some(part)}))

    def some(self, text: str) -> list[int]:
        """Those of `7`, `5-9`, `*`, each also with a step: `7/2`."""
        base, slash, step = text.partition("/")
        first, dash, last = base.partition("-")
        if base == "*":
            low, high = self.least, self.most
        else:
            low = self.number(first)
            high = self.number(last) if dash else self.most if slash else low
        if low > high and not self.is_round:
            raise self.wrong(text)
        all_of_them = self.most - self.least + 1
        places = range(0, (high - low) % all_of_them + 1, self._step(step) if slash else 1)
        return [self.least + (low - self.least + place) % all_of_them for place in places]

    def number(self, text: str) -> int:
        """One, by its digits or its name."""
        if text in self.names:
            return self.least + self.names.index(text)
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self.least <= int(text) <= self.most:
            raise self.wrong(text)
        return int(text)

    def wrong(self, text: str) -> ValueError:
        """What to tell of a text that is none of these."""
        names = f", {self.names[0]} to {self.names[-1]}" if self.names else ""
        return ValueError(
            f"cron: {text!r} is no {self.name}: these are {self.least} to {self.most}{names},"
            " lists 1,2, ranges 1-2 and steps 1/2 of them, and *"
        )

    def _step(self, text: str) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
            raise self.wrong(f"/{text}")
        return int(text)


_MONTHS: Final = (
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN"),
    *("JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY_OF_MONTH: Final = _Field("day of the month", 1, 31)
_MONTH: Final = _Field("month", 1, 12, _MONTHS)
_WEEKDAY: Final = _Field("day of the week", 1, _SATURDAY, _WEEKDAYS)
_YEAR: Final = _Field("year", 1970, 2199, is_round=False)


def _cron(inside: str) -> Cron:
    fields = inside.split()
    if len(fields) != 6:
        raise ValueError(
            f"cron({inside}) has {len(fields)} fields, and must have 6: minutes, hours, day of the"
            " month, month, day of the week, year"
        )
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise ValueError(
            f"cron({inside}): either the day of the month or the day of the week must be ?"
        )
    cron = Cron(
        times=tuple(
            time(hour, minute)
            for hour in _HOUR.numbers(hours)
            for minute in _MINUTE.numbers(minutes)
        ),
        days=_terms(days, _day_of_month) if weekdays == "?" else _terms(weekdays, _weekday),
        months=_MONTH.numbers(months),
        years=_YEAR.numbers(years),
    )
    if cron.after(datetime(1970, 1, 1, tzinfo=UTC) - _DAY) is None:
        raise ValueError(f"cron({inside}) is on no day of any year")
    return cron


def _terms(text: str, days: Callable[[str], Days]) -> tuple[Days, ...]:
    if "#" in text and "," in text:
        raise ValueError(f"cron: {text!r}: where # is used, there is one day of the week only")
    return tuple(days(part) for part in text.split(","))


def _day_of_month(text: str) -> Days:
    """`L`, the last day; `15W`, the weekday closest to the 15th; or plain days."""
    if text == "L":
        return lambda year, month: {monthrange(year, month)[1]}
    if text.endswith("W"):
        near = _DAY_OF_MONTH.number(text[:-1])
        return lambda year, month: _closest_weekday(year, month, near)
    plain = set(_DAY_OF_MONTH.some(text))
    return lambda year, month: {day for day in plain if day <= monthrange(year, month)[1]}


def _weekday(text: str) -> Days:
    """`L`, Saturday; `6L`, the last Friday; `6#3`, the third Friday; or plain weekdays."""
    if text == "L":
        return _weekday(str(_SATURDAY))
    weekday, number, which = text.partition("#")
    if number:
        if which not in ("1", "2", "3", "4", "5"):
            raise ValueError(f"cron: {text!r}: what follows # must be 1 to 5")
        numbered, place = _WEEKDAY.number(weekday), int(which) - 1
        return lambda year, month: set(_all(year, month, numbered)[place : place + 1])
    if text.endswith("L"):
        last = _WEEKDAY.number(text[:-1])
        return lambda year, month: {_all(year, month, last)[-1]}
    plain = _WEEKDAY.some(text)
    return lambda year, month: {day for each in plain for day in _all(year, month, each)}


def _all(year: int, month: int, weekday: int) -> list[int]:
    """The days of a month that are this weekday: 1 is Sunday."""
    begins, length = monthrange(year, month)  # 0 is Monday
    first = 1 + (weekday - 2 - begins) % 7
    return list(range(first, length + 1, 7))


def _closest_weekday(year: int, month: int, day: int) -> set[int]:
    """The day itself, or the Friday before or the Monday after it, in the same month."""
    length = monthrange(year, month)[1]
    if day > length:
        return set()
    weekday = date(year, month, day).weekday()
    if weekday == 5:
        return {day - 1 if day > 1 else day + 2}
    if weekday == 6:
        return {day + 1 if day < length else day - 2}
    return {day}
