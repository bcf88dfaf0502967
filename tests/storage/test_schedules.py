"""Schedules: AWS's expressions are due when AWS says; what is none is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.schedules import Cron, compiled

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def _after(expression: str, moment: datetime, count: int = 1) -> list[str]:
    """The next moments at which it is due, by weekday, date and time."""
    when, found = compiled(expression), list[str]()
    for _ in range(count):
        due = when.after(moment)
        assert due is not None
        found.append(f"{due:%a %Y-%m-%d %H:%M}")
        moment = due
    return found


@pytest.mark.parametrize(
    ("expression", "dues"),
    [
        ("cron(0 10 * * ? *)", ["Thu 2026-01-01 10:00", "Fri 2026-01-02 10:00"]),
        ("cron(15 12 * * ? *)", ["Thu 2026-01-01 12:15", "Fri 2026-01-02 12:15"]),
        ("cron(0 18 ? * MON-FRI *)", ["Thu 2026-01-01 18:00", "Fri 2026-01-02 18:00"]),
        ("cron(0 8 1 * ? *)", ["Thu 2026-01-01 08:00", "Sun 2026-02-01 08:00"]),
        ("cron(0/15 * * * ? *)", ["Thu 2026-01-01 00:15", "Thu 2026-01-01 00:30"]),
        ("cron(0/10 * ? * MON-FRI *)", ["Thu 2026-01-01 00:10", "Thu 2026-01-01 00:20"]),
        ("cron(0/30 22-2 ? * FRI-SUN *)", ["Fri 2026-01-02 00:00", "Fri 2026-01-02 00:30"]),
        ("cron(1/10 0 * * ? *)", ["Thu 2026-01-01 00:01", "Thu 2026-01-01 00:11"]),
        ("cron(0 0 L * ? *)", ["Sat 2026-01-31 00:00", "Sat 2026-02-28 00:00"]),
        ("cron(0 0 3W * ? *)", ["Fri 2026-01-02 00:00", "Tue 2026-02-03 00:00"]),
        ("cron(0 0 ? * 3#2 *)", ["Tue 2026-01-13 00:00", "Tue 2026-02-10 00:00"]),
        ("cron(0 0 ? * 6L *)", ["Fri 2026-01-30 00:00", "Fri 2026-02-27 00:00"]),
        ("cron(0 0 ? * L *)", ["Sat 2026-01-03 00:00", "Sat 2026-01-10 00:00"]),
        ("cron(0 0 29 feb ? *)", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"]),
        ("cron(30 9 1,15 JAN,JUL ? 2026-2027)", ["Thu 2026-01-01 09:30", "Thu 2026-01-15 09:30"]),
        ("rate(5 minutes)", ["Thu 2026-01-01 00:05", "Thu 2026-01-01 00:10"]),
        ("rate(1 hour)", ["Thu 2026-01-01 01:00", "Thu 2026-01-01 02:00"]),
        ("rate(7 days)", ["Thu 2026-01-08 00:00", "Thu 2026-01-15 00:00"]),
    ],
)
def test_an_expression_is_due_when_aws_says(expression: str, dues: list[str]) -> None:
    """The examples of AWS's page, and one for each of its wildcards."""
    assert _after(expression, NEW_YEAR, len(dues)) == dues


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("every day", "neither rate"),
        ("cron(0 8 * * ?)", "has 5 fields, and must have 6"),
        ("cron(0 8 * * * *)", "must be ?"),
        ("cron(0 8 ? * ? *)", "must be ?"),
        ("cron(60 8 * * ? *)", "'60' is no minute: these are 0 to 59"),
        ("cron(0 24 * * ? *)", "'24' is no hour"),
        ("cron(0 8 0 * ? *)", "'0' is no day of the month"),
        ("cron(0 8 32W * ? *)", "'32' is no day of the month"),
        ("cron(0 8 * 13 ? *)", "'13' is no month: these are 1 to 12, JAN to DEC"),
        ("cron(0 8 ? * 0 *)", "'0' is no day of the week"),
        ("cron(0 8 ? * 3#6 *)", "must be 1 to 5"),
        ("cron(0 8 ? * MON#2,FRI#3 *)", "there is one day of the week only"),
        ("cron(0 8 ? * MON#2 1969)", "'1969' is no year"),
        ("cron(0 8 * * ? 2200)", "'2200' is no year"),
        ("cron(0 8 * * ? 2030-2020)", "'2030-2020' is no year"),
        ("cron(0/0 8 * * ? *)", "'/0' is no minute"),
        ("cron(, 8 * * ? *)", "'' is no minute"),
        ("cron(0 8 30 FEB ? *)", "is on no day of any year"),
        ("rate(5 minute)", "any other number with minutes"),
        ("rate(1 minutes)", "1 goes with minute"),
        ("rate(0 minutes)", "must be a whole number from 1"),
        ("rate(5 seconds)", "must be a whole number from 1"),
        ("rate(1.5 hours)", "must be a whole number from 1"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_reason(expression: str, reason: str) -> None:
    """The message names the field and what it may hold."""
    with pytest.raises(ValueError) as caught:
        compiled(expression)

    assert reason in str(caught.value)


@given(st.text(max_size=40) | st.text("0123456789*?/,-LW#ABCDEFGJMNOPRSTU ", max_size=40))
def test_no_text_ends_in_another_error(text: str) -> None:
    """Whatever somebody writes between the brackets is compiled or refused."""
    for expression in (text, f"cron({text})", f"rate({text})", f"cron(0 0 {text} * ? *)"):
        try:
            compiled(expression)
        except ValueError:
            pass


def test_what_a_rate_has_missed_is_its_latest() -> None:
    """However long it was away, it keeps its step."""
    when = compiled("rate(5 minutes)")
    assert when.latest(NEW_YEAR, NEW_YEAR + 4 * MINUTE) is None
    assert when.latest(NEW_YEAR, NEW_YEAR + 5 * MINUTE) == NEW_YEAR + 5 * MINUTE
    assert when.latest(NEW_YEAR, NEW_YEAR + 33 * MINUTE) == NEW_YEAR + 30 * MINUTE
    assert when.latest(NEW_YEAR, NEW_YEAR - DAY) is None


# -- against a reference that tries every minute ---------------------------------------------------


@dataclass(frozen=True)
class _Term:
    """A part of an expression, and what it means."""

    text: str
    holds: Callable[[int], bool]


@dataclass(frozen=True)
class _DayTerm:
    """A part about days, and what it means."""

    text: str
    holds: Callable[[date], bool]


def _plain(least: int, most: int) -> st.SearchStrategy[_Term]:
    one = st.integers(least, most)
    step = st.integers(1, most)
    return st.one_of(
        st.just(_Term("*", lambda value: True)),
        one.map(lambda n: _Term(str(n), lambda value: value == n)),
        st.tuples(one, one).map(lambda ab: _span(*ab)),
        st.tuples(one, step).map(lambda ns: _stepped(*ns)),
    )


def _span(first: int, last: int) -> _Term:
    if first <= last:
        return _Term(f"{first}-{last}", lambda value: first <= value <= last)
    return _Term(f"{first}-{last}", lambda value: value >= first or value <= last)


def _stepped(first: int, step: int) -> _Term:
    text = f"{first}/{step}"
    return _Term(text, lambda value: value >= first and (value - first) % step == 0)


def _lists(least: int, most: int) -> st.SearchStrategy[_Term]:
    def joined(terms: list[_Term]) -> _Term:
        text = ",".join(each.text for each in terms)
        return _Term(text, lambda value: any(each.holds(value) for each in terms))

    return st.lists(_plain(least, most), min_size=1, max_size=3).map(joined)


def _number(day: date) -> int:
    """Of the weekday, AWS's: 1 is Sunday."""
    return day.isoweekday() % 7 + 1


def _closest(day: date, wanted: int) -> bool:
    month = [day.replace(day=1) + n * DAY for n in range(31)]
    month = [each for each in month if each.month == day.month]
    weekdays = [each for each in month if each.weekday() < 5]
    if wanted > len(month):
        return False
    return day == min(weekdays, key=lambda each: abs(each.day - wanted))


def _of_month(term: _Term) -> _DayTerm:
    return _DayTerm(f"{term.text} {{}} ?", lambda day: term.holds(day.day))


def _of_week(term: _Term) -> _DayTerm:
    return _DayTerm(f"? {{}} {term.text}", lambda day: term.holds(_number(day)))


DAYS = st.one_of(
    _lists(1, 31).map(_of_month),
    _lists(1, 7).map(_of_week),
    st.just(_DayTerm("L {} ?", lambda day: (day + DAY).month != day.month)),
    st.integers(1, 31).map(lambda n: _DayTerm(f"{n}W {{}} ?", lambda day: _closest(day, n))),
    st.integers(1, 7).map(
        lambda n: _DayTerm(
            f"? {{}} {n}L", lambda day: _number(day) == n and (day + 7 * DAY).month != day.month
        )
    ),
    st.tuples(st.integers(1, 7), st.integers(1, 5)).map(
        lambda nk: _DayTerm(
            f"? {{}} {nk[0]}#{nk[1]}",
            lambda day: _number(day) == nk[0] and (day.day - 1) // 7 + 1 == nk[1],
        )
    ),
)


@dataclass(frozen=True)
class _Reference:
    """An expression, and whether it is due at a minute, tried one by one."""

    minute: _Term
    hour: _Term
    day: _DayTerm
    month: _Term
    year: _Term

    @property
    def expression(self) -> str:
        days = self.day.text.format(self.month.text)
        return f"cron({self.minute.text} {self.hour.text} {days} {self.year.text})"

    def dues(self, first: datetime, last: datetime) -> list[datetime]:
        """All later than the first, and not later than the last."""
        days = (last.date() - first.date()).days
        found = [first.date() + n * DAY for n in range(days + 1)]
        found = [day for day in found if self._is_on(day)]
        minutes = [(h, m) for h in range(24) for m in range(60) if self._is_at(h, m)]
        midnights = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in found]
        moments = [each.replace(hour=h, minute=m) for each in midnights for h, m in minutes]
        return [each for each in moments if first < each <= last]

    def _is_on(self, day: date) -> bool:
        return self.year.holds(day.year) and self.month.holds(day.month) and self.day.holds(day)

    def _is_at(self, hour: int, minute: int) -> bool:
        return self.hour.holds(hour) and self.minute.holds(minute)


YEARS = st.one_of(
    st.just(_Term("*", lambda value: True)),
    st.tuples(st.integers(1970, 2030), st.integers(2020, 2199))
    .filter(lambda ab: ab[0] <= ab[1])
    .map(lambda ab: _span(*ab)),
)
REFERENCES = st.builds(_Reference, _lists(0, 59), _lists(0, 23), DAYS, _lists(1, 12), YEARS)
MOMENTS = st.datetimes(datetime(2019, 1, 1), datetime(2033, 1, 1), timezones=st.just(UTC))


def _compiled(reference: _Reference) -> Cron | None:
    """None: the reference is on no day at all, which is refused."""
    try:
        found = compiled(reference.expression)
    except ValueError as error:
        assert "is on no day of any year" in str(error)
        return None
    assert isinstance(found, Cron)
    return found


@settings(deadline=None, max_examples=150)
@given(REFERENCES, MOMENTS)
def test_the_next_due_moment_is_the_first_of_all_minutes(
    reference: _Reference, moment: datetime
) -> None:
    """Each field means what it means alone, whatever the others hold."""
    last = moment + 100 * DAY
    expected = reference.dues(moment, last)
    when = _compiled(reference)
    due = when.after(moment) if when else None

    assert (due if due and due <= last else None) == (expected[0] if expected else None)


@settings(deadline=None, max_examples=150)
@given(REFERENCES, MOMENTS, st.timedeltas(timedelta(0), 40 * DAY))
def test_the_latest_due_moment_is_the_last_of_all_minutes(
    reference: _Reference, since: datetime, away: timedelta
) -> None:
    """What was missed is found however long ago it was looked for last."""
    expected = reference.dues(since, since + away)
    when = _compiled(reference)
    due = when.latest(since, since + away) if when else None

    assert due == (expected[-1] if expected else None)
