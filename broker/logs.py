"""What functions logged: a capped stream for each function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis

from broker import keys

#: Characters of one stream entry; with 2,000 entries a function's log stays under 32 MB.
ENTRY: Final = 16_000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Some lines that one invocation logged."""

    id: str
    at: datetime
    text: str


def entries(lines: Iterable[str]) -> list[str]:
    """Join lines into entries of at most `ENTRY` characters; a longer line is cut in pieces."""
    joined = "\n".join(line.rstrip("\n") for line in lines)
    if len(joined) <= ENTRY:
        return [joined] if joined else []
    return list(_cut(joined))


def _cut(text: str) -> Iterator[str]:
    """Cut at line ends where one is near."""
    at = 0
    while at < len(text):
        end = at + ENTRY
        if end < len(text):
            newline = text.rfind("\n", at, end)
            end = newline + 1 if newline > at else end
        yield text[at:end].rstrip("\n")
        at = end


class FunctionLogs:
    """Reads the logs of functions."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def read(self, function: str, count: int = 2_000) -> list[LogEntry]:
        """The newest entries of a function's log, oldest first."""
        found: Any = self._redis.xrevrange(keys.logs(function), count=count)
        return [_entry(*each) for each in reversed(found)]

    def follow(self, function: str, after: str = "$") -> Iterator[LogEntry]:
        """Every entry after the one named, waiting for new ones, without end."""
        if after == "$":
            newest: Any = self._redis.xrevrange(keys.logs(function), count=1)
            after = newest[0][0].decode() if newest else "0"
        while True:
            # XRANGE after a blocking XREAD: its reply has one shape in every protocol version.
            self._redis.xread({keys.logs(function): after}, count=1, block=1_000)
            found: Any = self._redis.xrange(keys.logs(function), min=f"({after}", count=100)
            for entry in (_entry(*each) for each in found):
                after = entry.id
                yield entry


def _entry(id: bytes, fields: dict[bytes, bytes]) -> LogEntry:
    milliseconds = int(id.split(b"-")[0])
    return LogEntry(
        id=id.decode(),
        at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        text=fields[b"text"].decode("utf-8", "replace"),
    )
