"""Calling a function from Python."""

from __future__ import annotations

import json
from typing import Any

from bucketwheel.errors import FunctionError
from bucketwheel.instance import adopt
from broker import calls
from broker.connection import connect
from broker.errors import FunctionFailed
from broker.settings import BrokerSettings

__all__ = ["FunctionError", "invoke"]

#: Seconds: Lambda's longest timeout, and as much again for waiting in line.
LONGEST = 1_800.0


def invoke(name: str, event: Any, wait: bool = True, timeout: float = LONGEST) -> Any:
    """Call a function with an event; both event and response are what JSON can hold.

    Args:
        name: The function.
        event: Its event.
        wait: Whether to wait for the response; a failed call is then not retried. Otherwise the
            event is queued, retried as an upload's is, and its invocation id returned.
        timeout: Seconds to wait at most.

    Raises:
        FunctionError: the function failed.
        BucketwheelError: it could not be called; the message says why.
    """
    payload = json.dumps(event).encode()
    if not wait:
        return enqueue_json(name, payload)
    return json.loads(invoke_json(name, payload, timeout))


def invoke_json(name: str, payload: bytes, timeout: float = LONGEST) -> bytes:
    """As `invoke`, with JSON in and out."""
    adopt()
    try:
        return calls.invoke(connect(BrokerSettings.read()), name, payload, timeout=timeout)
    except FunctionFailed as error:
        raise FunctionError(error.fault.type, error.fault.message, error.fault.trace) from None


def enqueue_json(name: str, payload: bytes) -> str:
    """As `invoke` with `wait=False`, with JSON in; returns the invocation id."""
    adopt()
    return calls.enqueue(connect(BrokerSettings.read()), name, payload)
