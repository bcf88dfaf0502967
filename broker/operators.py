"""Operators of AWS's event filtering: what is asked of one value of a record.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html

Numbers are compared by their value, so that 300 and 300.0 are one; AWS compares their texts outside
`numeric`. AWS's bounds for `numeric`, 5.0e9, do not hold here: objects may be larger.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

Test = Callable[[Any], bool]

#: What a field has that is not there, or that is no leaf.
ABSENT: Final = object()

_COMPARISONS: Final[dict[Any, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_IGNORING_CASE: Final = "equals-ignore-case"


def equals(wanted: Any) -> Test:
    """The same value of the same kind: true is not 1."""
    kind = _kind(wanted)
    return lambda value: value == wanted and _kind(value) == kind


def operation(name: str, argument: Any) -> Test:
    """An operator by its name, with what it is given.

    Raises:
        ValueError: there is no such operator, or it does not take that.
    """
    make = _OPERATORS.get(name)
    if make is None:
        raise ValueError(f"{name!r} is no operator; these are: {', '.join(_OPERATORS)}")
    return make(argument)


def _exists(argument: Any) -> Test:
    if not isinstance(argument, bool):
        raise ValueError(f"exists takes true or false, not {argument!r:.100}")
    return lambda value: (value is not ABSENT) == argument


def _prefix(argument: Any) -> Test:
    wanted, folded = _text_or_any_case("prefix", argument)
    return _of_texts(lambda text: folded(text).startswith(wanted))


def _suffix(argument: Any) -> Test:
    wanted, folded = _text_or_any_case("suffix", argument)
    return _of_texts(lambda text: folded(text).endswith(wanted))


def _equals_ignore_case(argument: Any) -> Test:
    wanted = _text(_IGNORING_CASE, argument).casefold()
    return _of_texts(lambda text: text.casefold() == wanted)


def _wildcard(argument: Any) -> Test:
    """`*` is any text; a star and a backslash themselves are written behind a backslash."""
    first, *others = _pieces(_text("wildcard", argument))
    if not others:
        return equals(first)
    *middle, last = others

    def matches(text: str) -> bool:
        at, end = len(first), len(text) - len(last)
        if at > end or not (text.startswith(first) and text.endswith(last)):
            return False
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return _of_texts(matches)


def _anything_but(argument: Any) -> Test:
    if isinstance(argument, dict):
        name, unwanted = _only(argument)
        make = _OF_TEXTS.get(name)
        if make is None:
            raise ValueError(f"anything-but takes {', '.join(_OF_TEXTS)}, not {name!r}")
        tests = [make(each) for each in _several(unwanted)]
    else:
        unwanted = _several(argument)
        if {_kind(each) for each in unwanted} not in ({str}, {float}):
            raise ValueError(f"anything-but takes texts or numbers, not {argument!r:.100}")
        tests = [equals(each) for each in unwanted]
    return lambda value: value is not ABSENT and not any(test(value) for test in tests)


def _numeric(argument: Any) -> Test:
    """One comparison, or a lower bound and then an upper one."""
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        raise ValueError(f"numeric takes [comparison, number] once or twice, not {argument!r:.100}")
    bounds = list(zip(argument[::2], argument[1::2], strict=True))
    for name, number in bounds:
        if not isinstance(name, str) or name not in _COMPARISONS or _kind(number) is not float:
            raise ValueError(
                f"numeric takes one of {', '.join(_COMPARISONS)} and a number, not"
                f" {name!r:.100} and {number!r:.100}"
            )
    if len(bounds) == 2:
        _check_range(*bounds)
    return lambda value: (
        _kind(value) is float and all(_COMPARISONS[name](value, number) for name, number in bounds)
    )


def _check_range(lower: tuple[str, float], upper: tuple[str, float]) -> None:
    if lower[0] not in (">", ">=") or upper[0] not in ("<", "<=") or lower[1] >= upper[1]:
        raise ValueError(
            "numeric with two comparisons takes a lower bound, then a greater upper one, not"
            f" {lower[0]} {lower[1]:g} and {upper[0]} {upper[1]:g}"
        )


#: Those that `anything-but` takes as well.
_OF_TEXTS: Final[dict[str, Callable[[Any], Test]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    _IGNORING_CASE: _equals_ignore_case,
    "wildcard": _wildcard,
}
_OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    **_OF_TEXTS,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
}


# -- what operators are given ----------------------------------------------------------------------


def _kind(value: Any) -> type:
    """JSON's kinds of values: every number is a float, and no truth value is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float
    return type(value)


def _text(name: str, argument: Any) -> str:
    if not isinstance(argument, str):
        raise ValueError(f"{name} takes a text, not {argument!r:.100}")
    return argument


def _text_or_any_case(name: str, argument: Any) -> tuple[str, Callable[[str], str]]:
    """A text, or one whose case does not matter; with it, what makes values comparable to it."""
    if isinstance(argument, dict) and list(argument) == [_IGNORING_CASE]:
        return _text(_IGNORING_CASE, argument[_IGNORING_CASE]).casefold(), str.casefold
    return _text(name, argument), str


def _several(argument: Any) -> list[Any]:
    """One, or a list of them."""
    if argument == []:
        raise ValueError("anything-but takes at least one value")
    return argument if isinstance(argument, list) else [argument]


def _only(argument: dict[str, Any]) -> tuple[str, Any]:
    if len(argument) != 1:
        raise ValueError(f"an operator stands alone in its braces, not {list(argument)!r:.100}")
    return next(iter(argument.items()))


def _pieces(text: str) -> list[str]:
    """What stands between the stars of a wildcard."""
    pieces, at = [""], 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
            if text[at : at + 1] not in ("*", "\\") or at == len(text):
                raise ValueError(f"in wildcard {text!r:.100} a backslash must stand before * or \\")
            pieces[-1] += text[at]
        elif text[at] == "*":
            if text[at + 1 : at + 2] == "*":
                raise ValueError(f"wildcard {text!r:.100} has two stars side by side")
            pieces.append("")
        else:
            pieces[-1] += text[at]
        at += 1
    return pieces


def _of_texts(test: Callable[[str], bool]) -> Test:
    return lambda value: isinstance(value, str) and test(value)
