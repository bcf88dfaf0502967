"""Filters: AWS's event filtering patterns, compiled, and matched against event records.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html

A pattern has the shape of what it matches: `{"s3": {"object": {"size": [{"numeric": [">", 0]}]}}}`.
All of its fields must match, and of a field's list any entry: a value, or an operator. Where the
event has a list, any of its elements may match. `$or` takes several patterns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from broker.errors import FilterError
from broker.operators import ABSENT, Test, equals, operation

#: How deep fields may lie within one another.
DEPTH: Final = 32
_OR: Final = "$or"


class Filters:
    """The patterns of one function: a record must match any of them."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile.

        Raises:
            FilterError: one is no pattern; the message says which, where, and why.
        """
        self._tests = [_compiled(text, f"filter {n}") for n, text in enumerate(patterns, 1)]

    def match(self, record: Mapping[str, Any]) -> bool:
        """Whether a record, in AWS's shape, matches."""
        return any(test(record) for test in self._tests)


def _compiled(text: str, place: str) -> Test:
    try:
        pattern = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FilterError(f"{place} is not JSON: {error}") from None
    return _fields(pattern, place, DEPTH)


def _fields(pattern: Any, place: str, depth: int) -> Test:
    """A test of an object of the event, or of several in a list."""
    if not isinstance(pattern, dict) or not pattern:
        raise FilterError(f"{place} must be an object with at least one field")
    if not depth:
        raise FilterError(f"{place} lies deeper than {DEPTH} levels")
    tests = [(name, _field(name, each, place, depth - 1)) for name, each in pattern.items()]

    def matches(value: Any) -> bool:
        if isinstance(value, list):
            return any(matches(each) for each in value)
        found = value if isinstance(value, Mapping) else {}
        return all(test(found if name == _OR else found.get(name, ABSENT)) for name, test in tests)

    return matches


def _field(name: str, pattern: Any, place: str, depth: int) -> Test:
    place = f"{place}: {name}"
    if name == _OR:
        return _any_of(pattern, place, depth)
    if isinstance(pattern, dict):
        return _fields(pattern, place, depth)
    return _leaf(pattern, place)


def _any_of(patterns: Any, place: str, depth: int) -> Test:
    if not isinstance(patterns, list) or len(patterns) < 2:
        raise FilterError(f"{place} must be a list of at least two patterns")
    tests = [_fields(each, place, depth) for each in patterns]
    return lambda value: any(test(value) for test in tests)


def _leaf(entries: Any, place: str) -> Test:
    if not isinstance(entries, list) or not entries:
        raise FilterError(f"{place} must be a list of at least one value or operator")
    tests = [_entry(each, place) for each in entries]
    return lambda value: any(test(each) for each in _leaves(value) or [ABSENT] for test in tests)


def _entry(entry: Any, place: str) -> Test:
    if isinstance(entry, list):
        raise FilterError(f"{place} must not have a list within its list")
    if not isinstance(entry, dict):
        return equals(entry)
    if len(entry) != 1:
        raise FilterError(f"{place}: an operator stands alone in its braces: {entry!r:.100}")
    [(name, argument)] = entry.items()
    try:
        return operation(name, argument)
    except ValueError as error:
        raise FilterError(f"{place}: {error}") from None


def _leaves(value: Any) -> list[Any]:
    """The values to ask: of a list its own; an object, as what is not there, has none."""
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [] if value is ABSENT or isinstance(value, Mapping) else [value]
