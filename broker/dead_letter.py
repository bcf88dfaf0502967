"""A dead letter: an invocation given up, or something that never could be one, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from broker.invocation import FunctionFault

#: Bytes kept of an event; more than any quota allows.
_EVENT: Final = 8_000_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of it, until it is retried or purged."""

    id: str
    function: str
    #: The event, or what should have been one, as it came.
    event: bytes
    fault: FunctionFault
    attempts: int = 0
    version: int = 0

    @property
    def reason(self) -> str:
        """In one line."""
        return f"{self.fault.type}: {self.fault.message}"[:500]

    def render(self) -> bytes:
        """JSON, with the event as text."""
        return orjson.dumps(
            {
                "id": self.id,
                "function": self.function,
                "version": self.version,
                "attempts": self.attempts,
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "fault": as_json(self.fault),
                "event": self.event[:_EVENT].decode("utf-8", "replace"),
            }
        )


def undeliverable(id: str, function: str, content: bytes, why: str) -> DeadLetter:
    """Something that could not become an invocation."""
    return DeadLetter(id, function, content, FunctionFault("Undeliverable", why))


def as_json(fault: FunctionFault) -> dict[str, Any]:
    """A fault as callers and letters have it."""
    return {"type": fault.type, "message": fault.message, "trace": list(fault.trace)}
