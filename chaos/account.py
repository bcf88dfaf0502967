"""The account: what became of every upload that was answered 200."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from chaos.faults import Fault
from chaos.runs import Run, Runs
from chaos.uploads import Uploads

#: Seconds after a fault in which what it has broken comes to light: a lease of 5 s, and a
#: transport that delivers again after 15.
AFTERMATH: Final = 20.0
#: Seconds after the end of a fault in which an upload may still have been answered without event.
ANSWERED: Final = 5.0
#: Seconds within which what a dead worker had in hand must run again.
GOAL: Final = 10.0
#: No fault had to do with it.
NONE: Final = "(none)"


@dataclass(frozen=True, slots=True)
class Repeat:
    """A run that was repeated, and the fault that is to blame; moments as of `time.monotonic()`."""

    key: str
    kind: str
    began: float
    over: float
    again: float
    #: Its environment was gone before it ended.
    was_cut: bool
    #: It still went on when the other began.
    overlapped: bool


@dataclass(slots=True)
class Line:
    """One kind of fault, and what came of it."""

    kind: str
    faults: int = 0
    #: Runs cut off, and run again.
    cut: int = 0
    #: Done, but not yet told when the fault came: run again.
    again: int = 0
    #: Uploads that were answered meanwhile.
    answered: int = 0
    #: Lost, and run twice at once: keys.
    lost: list[str] = field(default_factory=list)
    overlapped: list[str] = field(default_factory=list)
    #: Seconds from the death of a worker to the next run of what it had in hand.
    redelivered: list[float] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """Of the redelivery times, in seconds."""
        return median(self.redelivered) if self.redelivered else None

    @property
    def longest(self) -> float | None:
        """Of the redelivery times, in seconds."""
        return max(self.redelivered, default=None)


@dataclass(frozen=True)
class Account:
    """All of it."""

    lines: list[Line]
    answered: int
    once: int
    more: int
    unanswered: int
    repeats: list[Repeat]

    @property
    def lost(self) -> list[str]:
        """Keys of uploads that were answered, and never run to an end."""
        return [key for line in self.lines for key in line.lost]

    @property
    def overlapped(self) -> list[str]:
        """Keys whose function ran twice at the same time."""
        return [key for line in self.lines for key in line.overlapped]

    @property
    def unexplained(self) -> int:
        """Runs that were repeated although no fault had to do with them."""
        return sum(line.again + line.cut for line in self.lines if line.kind == NONE)

    @property
    def longest(self) -> float:
        """Seconds until what a dead worker had in hand was run again, at worst."""
        return max((line.longest or 0.0 for line in self.lines), default=0.0)

    @property
    def is_good(self) -> bool:
        """Whether what is promised was kept."""
        kept = not (self.lost or self.overlapped or self.unexplained)
        return kept and self.longest <= GOAL


def account(uploads: Uploads, runs: Runs, faults: Sequence[Fault], measured: set[str]) -> Account:
    """Judge every upload; `measured` are kinds of faults that workers die of."""
    lines = {kind: Line(kind) for kind in [*sorted({each.kind for each in faults}), NONE]}
    for each in faults:
        lines[each.kind].faults += 1
    for key, moment in uploads.answered.items():
        line = lines[blamed(faults, moment, moment, ANSWERED)]
        line.answered += 1
        if not any(run.ended for run in runs.of(key)):
            line.lost.append(key)
    repeats = [
        _repeat(earlier, later, faults)
        for key in runs.seen()
        for earlier, later in pairwise(runs.of(key))
    ]
    for repeat in repeats:
        _count(repeat, lines[repeat.kind], measured)
    ended = [sum(1 for _ in runs.of(key)) for key in uploads.answered]
    once, more = sum(count == 1 for count in ended), sum(count > 1 for count in ended)
    return Account(list(lines.values()), len(ended), once, more, len(uploads.unanswered), repeats)


def _repeat(earlier: Run, later: Run, faults: Sequence[Fault]) -> Repeat:
    """Two runs of one object, one after the other."""
    over, was_cut = min(earlier.over, later.began), earlier.ended is None
    kind = blamed(faults, earlier.began, over, 0.5 if was_cut else AFTERMATH)
    overlapped = earlier.overlaps(later)
    return Repeat(earlier.key, kind, earlier.began, over, later.began, was_cut, overlapped)


def _count(repeat: Repeat, line: Line, measured: set[str]) -> None:
    if repeat.overlapped:
        line.overlapped.append(repeat.key)
    if not repeat.was_cut:
        line.again += 1
        return
    line.cut += 1
    if line.kind in measured:
        line.redelivered.append(repeat.again - repeat.over)


def blamed(faults: Iterable[Fault], begun: float, over: float, after: float) -> str:
    """The kind of the latest fault that was under way between two moments, or shortly before."""
    under_way = [each for each in faults if each.began <= over and each.ended + after >= begun]
    return max(under_way, key=lambda each: each.began).kind if under_way else NONE
