"""Calling deployed functions from a program."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import SecretStr

from broker.calls import Calls
from broker.errors import FunctionFailed, InvalidPayload
from broker.settings import BrokerSettings
from bucketwheel.errors import FunctionError
from bucketwheel.instance import Instance

#: Seconds to wait for a response: the longest a function may run, and as long in the queue.
PATIENCE: Final = 1_800.0


def invoke(name: str, event: Any, wait: bool = True, timeout: float | None = None) -> Any:
    """Run a function with this event, and return its response; without `wait`, the invocation id.

    The system is found by `BUCKETWHEEL_REDIS_URL`, or by its folder: `BUCKETWHEEL_DATA`, or
    `.bucketwheel` here.

    Args:
        name: The function's name.
        event: Anything JSON can hold.
        wait: Wait for the response; a failed call is then told and not tried again.
        timeout: Seconds to wait; without it, longer than any function may run.

    Raises:
        FunctionError: the function failed.
        BucketwheelError: it is not deployed, the event is too large or not JSON, nothing answers.
    """
    payload = _payload(event)
    if not wait:
        return enqueue(name, payload)
    return orjson.loads(respond(name, payload, timeout))


def respond(name: str, payload: bytes, timeout: float | None = None) -> bytes:
    """The function's response as it came, JSON in UTF-8."""
    limit = PATIENCE if timeout is None else timeout
    try:
        return _calls(_url()).invoke(name, payload, limit)
    except FunctionFailed as error:
        fault = error.fault
        raise FunctionError(fault.type, fault.message, fault.trace) from None


def enqueue(name: str, payload: bytes) -> str:
    """Queue an event; returns the invocation id."""
    return _calls(_url()).enqueue(name, payload)


def _payload(event: Any) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError as error:
        raise InvalidPayload(f"the event cannot be written as JSON: {error}") from None


def _url() -> str:
    return os.environ.get("BUCKETWHEEL_REDIS_URL") or Instance.find().redis_url


@lru_cache(maxsize=4)
def _calls(url: str) -> Calls:
    return Calls(BrokerSettings(redis_url=SecretStr(url)))
