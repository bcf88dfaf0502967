"""A dead letter: an invocation given up, or something that never could be one, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    #: Where the event, then the record of an invocation's end, could not be delivered to.
    destination: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def reason(self) -> str:
        """In one line."""
        return self.fault.reason

    def render(self) -> bytes:
        """JSON, with the event as text."""
        return orjson.dumps(
            {
                "id": self.id,
                "function": self.function,
                "version": self.version,
                "attempts": self.attempts,
                "at": self.at.isoformat(timespec="milliseconds"),
                "fault": as_json(self.fault),
                "destination": self.destination,
                "event": self.event[:_EVENT].decode("utf-8", "replace"),
            }
        )


def parse(text: bytes) -> DeadLetter:
    """A letter as it was rendered, also by an older version."""
    found = orjson.loads(text)
    return DeadLetter(
        found["id"],
        found["function"],
        found["event"].encode(),
        from_json(found["fault"]),
        found["attempts"],
        found["version"],
        found.get("destination", ""),
        datetime.fromisoformat(found["at"]),
    )


def undeliverable(id: str, function: str, content: bytes, why: str) -> DeadLetter:
    """Something that could not become an invocation."""
    return DeadLetter(id, function, content, FunctionFault("Undeliverable", why))


def as_json(fault: FunctionFault) -> dict[str, Any]:
    """A fault as callers and letters have it."""
    return {"type": fault.type, "message": fault.message, "trace": list(fault.trace)}


def from_json(found: dict[str, Any]) -> FunctionFault:
    """A fault of which `as_json` made that."""
    return FunctionFault(found["type"], found["message"], tuple(found["trace"]))
