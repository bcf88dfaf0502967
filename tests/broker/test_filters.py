"""Filters: AWS's event filtering patterns mean what AWS says they mean, or are refused clearly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import FilterError
from broker.filters import DEPTH, Filters

# The rules of AWS's two pages, each with an event that it matches and one that it does not:
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
AWS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "null": ({"UserID": [None]}, {"UserID": None}, {}),
    "empty": ({"LastName": [""]}, {"LastName": ""}, {"LastName": "x"}),
    "equals": ({"Name": ["Alice"]}, {"Name": "Alice"}, {"Name": "alice"}),
    "equals (ignore case)": (
        {"Name": [{"equals-ignore-case": "alice"}]},
        {"Name": "ALICE"},
        {"Name": "Alicia"},
    ),
    "and": (
        {"Location": ["New York"], "Day": ["Monday"]},
        {"Location": "New York", "Day": "Monday"},
        {"Location": "New York", "Day": "Tuesday"},
    ),
    "or": (
        {"PaymentType": ["Credit", "Debit"]},
        {"PaymentType": "Debit"},
        {"PaymentType": "Cash"},
    ),
    "or (multiple fields)": (
        {"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]},
        {"Location": "Paris", "Day": "Monday"},
        {"Location": "Paris", "Day": "Tuesday"},
    ),
    "or beside another field": (
        {"Price": [5], "$or": [{"Day": ["Monday"]}, {"Day": ["Friday"]}]},
        {"Price": 5, "Day": "Friday"},
        {"Price": 6, "Day": "Friday"},
    ),
    "not": ({"Weather": [{"anything-but": ["Raining"]}]}, {"Weather": "Sunny"}, {}),
    "not (number)": ({"x": [{"anything-but": 123}]}, {"x": 124}, {"x": 123}),
    "not (several)": (
        {"state": [{"anything-but": ["stopped", "overloaded"]}]},
        {"state": "running"},
        {"state": "overloaded"},
    ),
    "not (begins with)": (
        {"Region": [{"anything-but": {"prefix": "us-"}}]},
        {"Region": "eu-west-1"},
        {"Region": "us-east-1"},
    ),
    "not (begins with any)": (
        {"Region": [{"anything-but": {"prefix": ["us-", "eu-"]}}]},
        {"Region": "ap-south-1"},
        {"Region": "eu-west-1"},
    ),
    "not (ends with)": (
        {"FileName": [{"anything-but": {"suffix": ".png"}}]},
        {"FileName": "a.jpg"},
        {"FileName": "a.png"},
    ),
    "not (ignore case)": (
        {"state": [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}]},
        {"state": "Running"},
        {"state": "INITIALIZING"},
    ),
    "not (wildcard)": (
        {"FilePath": [{"anything-but": {"wildcard": "*/lib/*"}}]},
        {"FilePath": "/usr/bin/a"},
        {"FilePath": "/usr/lib/a"},
    ),
    "numeric (equals)": ({"Price": [{"numeric": ["=", 100]}]}, {"Price": 1e2}, {"Price": "100"}),
    "numeric (range)": (
        {"Price": [{"numeric": [">", 10, "<=", 20]}]},
        {"Price": 20},
        {"Price": 10},
    ),
    "numeric (below)": ({"d": [{"numeric": ["<", 10]}]}, {"d": -1.5}, {"d": 10}),
    "exists": ({"ProductName": [{"exists": True}]}, {"ProductName": None}, {"Product": "x"}),
    "does not exist": ({"ProductName": [{"exists": False}]}, {"x": 1}, {"ProductName": "x"}),
    "does not exist, since it is no leaf": (
        {"c": [{"exists": False}]},
        {"c": {"c1": 100}},
        {"c": 1},
    ),
    "begins with": (
        {"Region": [{"prefix": "us-"}]},
        {"Region": "us-east-1"},
        {"Region": "eu-us-"},
    ),
    "begins with (ignore case)": (
        {"service": [{"prefix": {"equals-ignore-case": "eventb"}}]},
        {"service": "EventBridge"},
        {"service": "event"},
    ),
    "ends with": (
        {"FileName": [{"suffix": ".png"}]},
        {"FileName": "a.png"},
        {"FileName": "a.png.jpg"},
    ),
    "ends with (ignore case)": (
        {"service": [{"suffix": {"equals-ignore-case": "tBridge"}}]},
        {"service": "EVENTBRIDGE"},
        {"service": "bridge"},
    ),
    "wildcard": (
        {"FilePath": [{"wildcard": "dir/*.png"}]},
        {"FilePath": "dir/a/b.png"},
        {"FilePath": "dir/.jpg"},
    ),
    "wildcard (a star itself)": (
        {"x": [{"wildcard": "a\\*\\\\*b"}]},
        {"x": "a*\\--b"},
        {"x": "a--\\b"},
    ),
    "wildcard (pieces do not overlap)": (
        {"x": [{"wildcard": "ab*ba"}]},
        {"x": "abba"},
        {"x": "aba"},
    ),
    "wildcard (pieces in their order)": (
        {"x": [{"wildcard": "*a*b*"}]},
        {"x": "1a2b3"},
        {"x": "1b2a3"},
    ),
    "a list in the event": (
        {"resources": ["one", "two"]},
        {"resources": ["zero", "two"]},
        {"resources": []},
    ),
    "objects in a list of the event": (
        {"items": {"name": ["a"], "size": [{"numeric": [">", 1]}]}},
        {"items": [{"name": "b", "size": 9}, {"name": "a", "size": 2}]},
        {"items": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]},
    ),
    "nested fields": (
        {"s3": {"object": {"size": [{"numeric": [">=", 1024]}]}}},
        {"s3": {"object": {"size": 1024}}},
        {"s3": {"object": "1024"}},
    ),
    "truth values are no numbers": ({"a": [1]}, {"a": 1}, {"a": True}),
    "values beside operators": (
        {"state": ["running", {"prefix": "stop"}, {"exists": False}]},
        {},
        {"state": "new"},
    ),
}


@pytest.mark.parametrize("pattern, matched, other", AWS.values(), ids=AWS)
def test_patterns_mean_what_aws_says(pattern: dict[str, Any], matched: Any, other: Any) -> None:
    """Each rule of AWS's pages matches its example, and not another."""
    filters = Filters([json.dumps(pattern)])

    assert filters.match(matched)
    assert not filters.match(other)


def test_a_record_must_match_any_of_several() -> None:
    """Filters are joined by or; AWS lets a source have five."""
    filters = Filters(['{"a": ["x"]}', '{"b": ["y"]}'])

    assert filters.match({"b": "y"})
    assert not filters.match({"a": "y", "b": "x"})


BAD = {
    "no JSON": ("{'a': 1}", "filter 1 is not JSON"),
    "no object": ('["a"]', "filter 1 must be an object"),
    "nothing in it": ("{}", "filter 1 must be an object with at least one field"),
    "a value by itself": ('{"a": "x"}', "filter 1: a must be a list"),
    "an empty list": ('{"a": []}', "filter 1: a must be a list of at least one"),
    "a list in a list": ('{"a": [["x"]]}', "a must not have a list within its list"),
    "no operator": ('{"a": {"b": [{"begins": "x"}]}}', "filter 1: a: b: 'begins' is no operator"),
    "two operators": ('{"a": [{"prefix": "x", "suffix": "y"}]}', "stands alone in its braces"),
    "a prefix that is no text": ('{"a": [{"prefix": 1}]}', "a: prefix takes a text, not 1"),
    "exists of something": ('{"a": [{"exists": "no"}]}', "exists takes true or false"),
    "anything but nothing": ('{"a": [{"anything-but": []}]}', "at least one value"),
    "anything but a mixture": ('{"a": [{"anything-but": [1, "x"]}]}', "takes texts or numbers"),
    "anything but numeric": ('{"a": [{"anything-but": {"numeric": ["=", 1]}}]}', "takes prefix"),
    "no comparison": ('{"a": [{"numeric": ["!=", 1]}]}', "one of =, <, <=, >, >= and a number"),
    "a comparison with a text": ('{"a": [{"numeric": ["=", "1"]}]}', "and a number, not"),
    "half a comparison": ('{"a": [{"numeric": ["="]}]}', "once or twice"),
    "an upper bound first": ('{"a": [{"numeric": ["<", 1, ">", 0]}]}', "a lower bound, then"),
    "bounds that cross": ('{"a": [{"numeric": [">", 2, "<", 1]}]}', "a lower bound, then"),
    "two stars": ('{"a": [{"wildcard": "a**b"}]}', "two stars side by side"),
    "a lonely backslash": ('{"a": [{"wildcard": "a\\\\n"}]}', "a backslash must stand before"),
    "an or of one": ('{"$or": [{"a": ["x"]}]}', "$or must be a list of at least two"),
}


@pytest.mark.parametrize("pattern, told", BAD.values(), ids=BAD)
def test_what_is_no_pattern_is_refused_with_where_and_why(pattern: str, told: str) -> None:
    """The message names the filter, the field, and what would be right."""
    with pytest.raises(FilterError) as refused:
        Filters([pattern])
    assert told in str(refused.value)


def test_depth_is_bounded() -> None:
    """A pattern that is nested without end is refused, not followed."""
    deep = '{"a":' * (DEPTH + 1) + '["x"]' + "}" * (DEPTH + 1)
    with pytest.raises(FilterError, match=f"deeper than {DEPTH} levels"):
        Filters([deep])


def test_many_stars_cost_little() -> None:
    """A wildcard is matched piece by piece; it would take a regular expression for ever."""
    filters = Filters([json.dumps({"key": [{"wildcard": "*a" * 500 + "b"}]})])
    assert not filters.match({"key": "a" * 1024})


_leaves = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-9, 9) | st.text("ab*\\", max_size=4)
)
_names = st.sampled_from(
    ["a", "b", "$or", "prefix", "suffix", "anything-but", "numeric", "exists", "wildcard"]
) | st.just("equals-ignore-case")
_json = st.recursive(
    _leaves | st.sampled_from(["=", "<", ">"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=12,
)
_events = st.dictionaries(st.sampled_from(["a", "b"]), _json, max_size=2)


@given(pattern=_json, event=_events)
def test_any_json_compiles_or_is_refused(pattern: Any, event: dict[str, Any]) -> None:
    """What compiles can be asked about any event; what does not is one clear error, of one line."""
    try:
        filters = Filters([json.dumps(pattern)])
    except FilterError as refused:
        assert str(refused).startswith("filter 1")
        assert "\n" not in str(refused)
        return
    assert filters.match(event) in (True, False)


@given(value=_leaves, other=_leaves)
def test_equals_matches_itself_and_only_itself(value: Any, other: Any) -> None:
    """A value matches itself, and another only when JSON could not tell them apart."""
    filters = Filters([json.dumps({"a": [value]})])

    assert filters.match({"a": value})
    is_same = value == other and isinstance(value, bool) == isinstance(other, bool)
    assert filters.match({"a": other}) == is_same


@given(wanted=st.text("ab", max_size=2) | st.integers(0, 3), value=_leaves)
def test_anything_but_is_the_opposite_of_equals(wanted: Any, value: Any) -> None:
    """Of a value that is there, exactly one of both is true; of none neither."""
    equals = Filters([json.dumps({"a": [wanted]})])
    but = Filters([json.dumps({"a": [{"anything-but": wanted}]})])

    assert equals.match({"a": value}) != but.match({"a": value})
    assert not equals.match({})
    assert not but.match({})


@given(event=_events)
def test_a_field_exists_or_it_does_not(event: dict[str, Any]) -> None:
    """Never both, never neither, whatever it is."""
    exists = Filters(['{"a": [{"exists": true}]}'])
    is_absent = Filters(['{"a": [{"exists": false}]}'])

    assert exists.match(event) != is_absent.match(event)


@given(
    text=st.text("ab", max_size=6),
    pieces=st.lists(st.text("ab", max_size=2), min_size=1, max_size=4),
)
def test_wildcards_match_as_a_search_by_all_splits(text: str, pieces: list[str]) -> None:
    """Piece by piece finds what trying every division of the text finds."""
    pattern = "*".join(pieces)
    if "**" in pattern:
        return
    filters = Filters([json.dumps({"a": [{"wildcard": pattern}]})])
    assert filters.match({"a": text}) == _matches(pattern, text)


def _matches(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_matches(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return text[:1] == pattern[0] and _matches(pattern[1:], text[1:])
