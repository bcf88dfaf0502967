"""What the function's log tells of each invocation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """One finished invocation: what lies between its START and its REPORT line."""

    id: str
    lines: tuple[str, ...]
    duration_ms: float
    #: Milliseconds of the environment's start, when the invocation had to wait for a new one.
    init_ms: float | None = None

    @property
    def cold(self) -> bool:
        """Whether it had to wait for a new environment."""
        return self.init_ms is not None

    @property
    def error(self) -> str | None:
        """What it failed with, if it failed."""
        marked = (each for each in self.lines if each.startswith("[ERROR] "))
        first = next(marked, None)
        return first and first.removeprefix("[ERROR] ")

    def is_about(self, path: str) -> bool:
        """Whether it tells of `bucket/key`, and not of a longer one that begins with it."""
        told = re.compile(re.escape(path) + "[,:]")
        return any(told.search(line) for line in self.lines)


def reports(entries: Iterable[str]) -> Iterator[Report]:
    """The finished invocations of a log, in its order."""
    id, lines = "", list[str]()
    for line in "\n".join(entries).split("\n"):
        if line.startswith("START RequestId: "):
            id, lines = line.split()[2], []
        elif line.startswith(f"REPORT RequestId: {id}\t"):
            yield _report(id, lines, line)
        else:
            lines.append(line)


def _report(id: str, lines: list[str], closing: str) -> Report:
    told = dict(part.split(": ", 1) for part in closing.split("\t") if ": " in part)
    init = told.get("Init Duration")
    return Report(
        id, tuple(lines), _milliseconds(told["Duration"]), _milliseconds(init) if init else None
    )


def _milliseconds(text: str) -> float:
    return float(text.removesuffix(" ms"))
