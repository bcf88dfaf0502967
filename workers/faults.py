"""Faults as AWS words them: what `errorType` and `errorMessage` hold when a function fails."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

import orjson

from broker.invocation import FunctionFault
from workers.runtime_api import MAX_RESPONSE

#: Not a function's fault: the worker stops, and the invocation goes back in line.
RETURNED: Final = FunctionFault("Returned", "the worker stops; the invocation is queued again")

#: Nobody's fault: its environment is not needed any more.
STOPPED: Final = FunctionFault("Stopped", "the environment was stopped")

#: A runtime that has answered, and does not ask for more within its invocation's time.
OVERDUE: Final = FunctionFault("Sandbox.Timedout", "the runtime did not ask for more")

#: Ended by a person, `revoke(terminate=True)`: not tried again.
REVOKED: Final = FunctionFault("Terminated", "the task was revoked")

_SIGNALS: Final = {6: "aborted", 9: "killed", 11: "segmentation fault", 15: "terminated"}
_TIMEOUT: Final = "Sandbox.Timedout"


def posted(body: bytes, headers: dict[str, str]) -> FunctionFault:
    """What a runtime posted; clients differ in what they send."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = {}
    found = found if isinstance(found, dict) else {}
    header = headers.get("lambda-runtime-function-error-type", "Runtime.Unknown")
    trace = found.get("stackTrace") or found.get("trace")
    return FunctionFault(
        type=str(found.get("errorType") or header),
        message=str(found.get("errorMessage") or ""),
        trace=tuple(map(_frame, trace)) if isinstance(trace, list) else (),
    )


def _frame(line: Any) -> str:
    """A line of a trace: a text, or Go's object."""
    if isinstance(line, dict) and {"path", "line", "label"} <= line.keys():
        return f"{line['path']}:{line['line']} {line['label']}"
    return str(line)


def exited(id: str, status: int) -> FunctionFault:
    """A process that ended by itself; `id` is the request's, `status` is waitpid's."""
    signal, code = status & 0x7F, status >> 8
    how = f"signal: {_SIGNALS.get(signal, signal)}" if signal else f"exit status {code}"
    return FunctionFault(
        "Runtime.ExitError", f"RequestId: {id} Error: Runtime exited with error: {how}"
    )


def timed_out(id: str, timeout: float) -> FunctionFault:
    """The deadline of an invocation has passed."""
    return FunctionFault(
        _TIMEOUT, f"RequestId: {id} Error: Task timed out after {timeout:.2f} seconds"
    )


def is_timeout(fault: FunctionFault) -> bool:
    """Whether a deadline ended it, of the invocation or of initialisation."""
    return fault.type == _TIMEOUT


def init_timed_out(timeout: float) -> FunctionFault:
    """Initialisation took too long."""
    return FunctionFault(_TIMEOUT, f"Init timed out after {timeout:.2f} seconds")


def out_of_memory(id: str) -> FunctionFault:
    """The process tree has outgrown the function's memory."""
    return FunctionFault(
        "Runtime.OutOfMemory",
        f"RequestId: {id} Error: Runtime exited with error: signal: killed",
    )


def exceeded(id: str, limit: str) -> FunctionFault:
    """The function has outgrown another limit of its sandbox."""
    return FunctionFault(
        "Sandbox.LimitExceeded", f"RequestId: {id} Error: the function has exceeded its {limit}"
    )


def too_large() -> FunctionFault:
    """The response is over the quota."""
    return FunctionFault(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes).",
    )


def not_json() -> FunctionFault:
    """The response cannot be handed on."""
    return FunctionFault("Runtime.InvalidResponse", "the function's response is not JSON")


def bad_batch_response(why: str) -> FunctionFault:
    """The response names failed records that cannot be told, so that all have failed."""
    return FunctionFault("Runtime.InvalidBatchResponse", why)


def broken_off(type: str, headers: dict[str, str]) -> FunctionFault:
    """A streamed response that failed on its way: trailers tell the type, and mostly the error."""
    told = headers.get("lambda-runtime-function-error-body", "")
    try:
        body = b64decode(told, validate=True)
    except ValueError:
        body = b""
    return posted(body, headers) if body else FunctionFault(type, "the response stream broke off")


def not_deployed(function: str) -> FunctionFault:
    """There is no function of that name."""
    return FunctionFault("ResourceNotFoundException", f"Function not found: {function}")
