"""What the decorator takes: each argument is checked where it is written, by Lambda's limits.

Standard library only: this module is imported in every function's process. Each function raises
TypeError for a value of the wrong type, and ValueError for one outside the limits.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: AWS's event names, and those with a star for several of them. `ObjectCreated:*` means finished
#: writes here: the store's own star includes tagging, with which a function would call itself.
WRITES: Final = (
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
)
REMOVALS: Final = ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated")
STARS: Final = {"ObjectCreated:*": WRITES, "ObjectRemoved:*": REMOVALS}


NAME: Final = r"[a-zA-Z0-9_-]{1,64}"
_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_BUCKETS: Final = "3 to 63 lower-case letters, digits, '.' or '-'"
_VARIABLE: Final = r"[a-zA-Z_][a-zA-Z0-9_]*"
_LAYER: Final = r"[a-zA-Z0-9_-]{1,140}(:[1-9][0-9]{0,8})?"
_DESTINATION: Final = (
    r"function:[a-zA-Z0-9_-]{1,64}"
    r"|redis:(?!bucketwheel:|function\.|unacked|_kombu)\S{1,200}"
    r"|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/\S{0,500})?"
    r"|https?://[^\s/?#]\S{0,999}"
)
_DESTINATIONS: Final = (
    "'function:NAME', 'redis:LIST' (none of the system's own), 's3://BUCKET/PREFIX' or an http(s)"
    " address"
)
#: Bytes of all names and values together: AWS Lambda's quota.
_ENVIRONMENT: Final = 4_096
_SCHEDULE: Final = r"rate\(\s*[1-9][0-9]*\s+(minute|hour|day)s?\s*\)|cron\([^()]{11,200}\)"
#: Characters of a filter's pattern: AWS Lambda's quota.
_PATTERN: Final = 4_096


def trigger(bucket: Any, prefix: Any, suffix: Any, events: Any) -> dict[str, Any] | None:
    """A trigger by the names that a configuration has; without events, every finished write."""
    if bucket is None:
        if prefix or suffix or events:
            raise TypeError("@function: prefix, suffix and events need a bucket")
        return None
    match("bucket", bucket, _BUCKET, _BUCKETS)
    if not isinstance(prefix, str):
        raise TypeError(f"@function: prefix must be a str, not {prefix!r}")
    trigger = {"bucket": bucket, "prefix": prefix, "suffixes": _texts("suffix", suffix)}
    return {**trigger, "events": _events(events)} if events else trigger


def concurrency(reserved: Any, provisioned: Any) -> dict[str, Any]:
    """Both concurrencies by their names, of which one is part of the other."""
    found = {"provisioned_concurrency": _environments("provisioned_concurrency", provisioned)}
    if reserved is not None:
        found["reserved_concurrency"] = _environments("reserved_concurrency", reserved)
        if provisioned > reserved:
            raise ValueError(
                f"@function: provisioned_concurrency must be at most reserved_concurrency,"
                f" {reserved:,}, not {provisioned:,}"
            )
    return found


def _environments(what: str, value: Any) -> int:
    return number(what, value, 0, 10_000, "environments")


def batches(size: Any, window: Any, bucket: Any) -> dict[str, int]:
    """The size of batches and their window, by their names."""
    found = {
        "batch_size": number("batch_size", size, 1, 10_000, "records"),
        "batch_window": number("batch_window", window, 0, 300, "seconds"),
    }
    if bucket is None and (size > 1 or window):
        raise TypeError("@function: batch_size and batch_window need a bucket")
    if size > 10 and window < 1:
        raise ValueError(
            f"@function: a batch_size of {size:,} needs a batch_window of at least 1 second;"
            " without one it must be at most 10"
        )
    return found


def schedules(expressions: Any, catch_up: Any) -> tuple[dict[str, Any], ...]:
    """Schedules by the names that a configuration has; what fields may hold, deployment says."""
    found = _texts("schedule", expressions)
    for each in found:
        match("schedule", each, _SCHEDULE, "rate(5 minutes), cron(0 8 * * ? *), or several of such")
    if len(found) > 10:
        raise ValueError(f"@function: schedule must be at most 10, not {len(found)}")
    if flag("schedule_catch_up", catch_up) and not found:
        raise TypeError("@function: schedule_catch_up needs a schedule")
    return tuple({"expression": each, "catch_up": catch_up} for each in found)


def layers(layers: Any) -> tuple[str, ...]:
    """Layers, each `name` or `name:version`."""
    found = _texts("layers", layers)
    for each in found:
        match("each of layers", each, _LAYER, "a layer's 'name' or 'name:version'")
    if len(found) > 5:
        raise ValueError(f"@function: layers must be at most 5, not {len(found)}")
    return found


def filters(patterns: Any, bucket: Any) -> tuple[str, ...]:
    """Patterns of AWS's event filtering, as JSON; deployment looks at their operators."""
    if isinstance(patterns, (str, Mapping)) or not isinstance(patterns, Sequence):
        raise TypeError(f"@function: filters must be several patterns, not {patterns!r}")
    if patterns and bucket is None:
        raise TypeError("@function: filters need a bucket")
    if len(patterns) > 5:
        raise ValueError(f"@function: filters must be at most 5, not {len(patterns)}")
    return tuple(_filter(each) for each in patterns)


def _filter(pattern: Any) -> str:
    if not isinstance(pattern, (str, Mapping)):
        raise TypeError(f"@function: each of filters must be a dict or JSON, not {pattern!r}")
    try:
        text = pattern if isinstance(pattern, str) else _json(pattern)
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"@function: {pattern!r:.200} in filters is not JSON: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"@function: {pattern!r:.200} in filters must have at least one field")
    if len(text) > _PATTERN:
        raise ValueError(
            f"@function: each of filters must have at most {_PATTERN:,} characters, not"
            f" {len(text):,}"
        )
    return text


def _json(pattern: Mapping[str, Any]) -> str:
    return json.dumps(dict(pattern), allow_nan=False, ensure_ascii=False)


def destination(what: str, value: Any) -> str | None:
    """Where records of invocations go; None: nowhere."""
    if value is None:
        return None
    match(what, value, _DESTINATION, _DESTINATIONS)
    return str(value)


def writes(patterns: Any) -> tuple[str, ...]:
    """Each a bucket, and behind a `/` what keys must begin with; a bucket alone is all of it."""
    found = _texts("writes", patterns)
    for pattern in found:
        bucket = pattern.partition("/")[0]
        match("what comes before the first '/' in writes", bucket, _BUCKET, _BUCKETS)
    return found


def _events(events: Any) -> tuple[str, ...]:
    names: list[str] = []
    for event in _texts("events", events):
        event = event.removeprefix("s3:")
        if event not in (*STARS, *WRITES, *REMOVALS):
            known = ", ".join((*STARS, *WRITES, *REMOVALS))
            raise ValueError(f"@function: {event!r} is no event; these are: {known}")
        names += STARS.get(event, (event,))
    return tuple(dict.fromkeys(names))


def _texts(what: str, value: Any) -> tuple[str, ...]:
    """One text or several, as several; an empty text is none."""
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"@function: {what} must be a str or several, not {value!r}")
    return tuple(value)


def variables(value: Any) -> dict[str, str]:
    """Environment variables."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"@function: environment must be a mapping, not {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"@function: environment must map str to str, not {name!r} to {text!r}")
        match("a name in environment", name, _VARIABLE, "letters, digits and '_'")
        if "\0" in text:
            raise ValueError(f"@function: {name} in environment must not hold a NUL character")
    size = sum(len(name.encode()) + len(text.encode()) for name, text in value.items())
    if size > _ENVIRONMENT:
        raise ValueError(
            f"@function: environment must have at most {_ENVIRONMENT:,} bytes, not {size:,}"
        )
    return dict(value)


def number(what: str, value: Any, least: int, most: int, unit: str) -> int:
    """A whole number between two limits."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"@function: {what} must be an int, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"@function: {what} must be {least:,} to {most:,} {unit}, not {value:,}")
    return value


def choice(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of several words."""
    if not isinstance(value, str):
        raise TypeError(f"@function: {what} must be a str, not {value!r}")
    if value not in allowed:
        raise ValueError(f"@function: {what} must be {' or '.join(allowed)}, not {value!r}")
    return value


def flag(what: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"@function: {what} must be a bool, not {value!r}")
    return value


def match(what: str, value: Any, pattern: str, allowed: str) -> None:
    """Refuse a text that is not wholly of a pattern; `allowed` says which texts are."""
    if not isinstance(value, str):
        raise TypeError(f"@function: {what} must be a str, not {value!r}")
    if not re.fullmatch(pattern, value):
        raise ValueError(f"@function: {what} must be {allowed}, not {value!r}")


def check_handler(decorated: Any) -> None:
    """Refuse what Lambda's runtime could not call."""
    if not callable(decorated) or not hasattr(decorated, "__qualname__"):
        raise TypeError(f"@function decorates a handler f(event, context), not {decorated!r}")
    if inspect.iscoroutinefunction(decorated):
        raise TypeError(
            f"@function: {decorated.__qualname__} is async, which Lambda's runtime does not run:"
            " make it a plain function that calls asyncio.run"
        )
