"""AWS's record of how an invocation ended that nobody waited for; destinations get it.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from broker.arn import function_arn
from broker.event_age import EVENT_AGE_EXCEEDED
from broker.invocation import FunctionFault


@dataclass(frozen=True, slots=True)
class DestinationRecord:
    """How an invocation ended."""

    id: str
    function: str
    #: The event, as it was handed over.
    event: bytes
    #: None when it succeeded.
    fault: FunctionFault | None
    #: What the handler returned.
    response: bytes | None = None
    #: Attempts that reached a worker.
    invoked: int = 0
    version: int = 0
    region: str = "us-east-1"

    @property
    def condition(self) -> str:
        """Success, RetriesExhausted or EventAgeExceeded."""
        if self.fault is None:
            return "Success"
        return EVENT_AGE_EXCEEDED if self._is_too_old else "RetriesExhausted"

    @property
    def _is_too_old(self) -> bool:
        return self.fault is not None and self.fault.type == EVENT_AGE_EXCEEDED

    def render(self) -> bytes:
        """JSON, in AWS's shape; without a response where the function has given none."""
        record = {
            "version": "1.0",
            "timestamp": _moment(),
            "requestContext": self._request(),
            "requestPayload": _json(self.event),
        }
        if not self._is_too_old:
            record["responseContext"] = self._context()
            record["responsePayload"] = self._payload()
        return orjson.dumps(record)

    def _request(self) -> dict[str, Any]:
        return {
            "requestId": self.id,
            "functionArn": f"{function_arn(self.region, self.function)}:$LATEST",
            "condition": self.condition,
            "approximateInvokeCount": self.invoked,
        }

    def _context(self) -> dict[str, Any]:
        version = str(self.version) if self.version else "$LATEST"
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": version}
        return {**context, "functionError": "Unhandled"} if self.fault else context

    def _payload(self) -> Any:
        if self.fault is None:
            return _json(self.response or b"null")
        return {
            "errorType": self.fault.type,
            "errorMessage": self.fault.message,
            "stackTrace": list(self.fault.trace),
        }


def _json(content: bytes) -> Any:
    """As it is, when it is JSON: a response that nobody waits for need not be."""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode("utf-8", "replace")
    return orjson.Fragment(content)


def _moment() -> str:
    """Now, as AWS writes it: 2019-11-14T18:16:05.568Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
