"""Functions' logs: nothing printed is changed, and nothing grows without bound."""

from __future__ import annotations

from itertools import islice
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from broker import keys
from broker.logs import ENTRY, FunctionLogs, entries

_lines = st.lists(st.text(alphabet="abé \t", max_size=3 * ENTRY // 2), max_size=4)


@given(_lines)
def test_entries_hold_every_character_in_its_order(lines: list[str]) -> None:
    """A long log is cut into entries, at line ends where one is near, and loses nothing."""
    found = entries(lines)

    assert all(len(each) <= ENTRY for each in found)
    assert "".join(found).replace("\n", "") == "".join(lines)


def test_a_reader_sees_the_newest_entries_oldest_first(redis: Redis) -> None:
    """As a file of a log reads."""
    for n in range(5):
        redis.xadd(keys.logs("crop"), {"text": f"line {n}"})

    assert [each.text for each in FunctionLogs(redis).read("crop", 3)] == [
        "line 2",
        "line 3",
        "line 4",
    ]


def test_a_follower_goes_on_where_a_reader_ended(redis: Redis) -> None:
    """Between reading and following nothing is missed, and nothing told twice."""
    logs = FunctionLogs(redis)
    redis.xadd(keys.logs("crop"), {"text": "before"})
    read: Any = logs.read("crop")
    redis.xadd(keys.logs("crop"), {"text": "between"})
    redis.xadd(keys.logs("crop"), {"text": "after"})
    followed = islice(logs.follow("crop", read[-1].id), 2)

    assert [each.text for each in followed] == ["between", "after"]
