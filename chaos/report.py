"""The table of an account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.table import Table

from chaos.account import GOAL, Account, Line

_HEADINGS: Final = ("times", "uploads", "lost", "at once", "cut off", "done", "p50", "longest")


def table(account: Account) -> Table:
    """A row for each kind of fault."""
    drawn = Table(
        title="What became of every upload that was answered 200",
        caption=(
            "uploads: answered meanwhile; at once: the same one run twice at the same time; cut"
            " off, done: run again, since its run was ended, or had ended and not been told; p50,"
            " longest: from the death of a worker until what it had in hand is run again"
        ),
    )
    drawn.add_column("fault", no_wrap=True)
    for heading in _HEADINGS:
        drawn.add_column(heading, justify="right")
    for line in account.lines:
        drawn.add_row(*_cells(line))
    return drawn


def _cells(line: Line) -> Iterator[str]:
    yield line.kind
    yield str(line.faults or "")
    yield str(line.answered)
    yield _bad(len(line.lost))
    yield _bad(len(line.overlapped))
    yield str(line.cut)
    yield str(line.again)
    yield _seconds(line.median)
    yield _seconds(line.longest)


def _bad(count: int) -> str:
    return f"[red]{count}[/]" if count else "0"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def verdict(account: Account) -> str:
    """All in a line or two."""
    said = (
        f"{account.answered} uploads were answered 200 ({account.unanswered} were not):"
        f" {account.once} ran once, {account.more} more than once, {len(account.lost)} were lost,"
        f" {len(account.overlapped)} ran twice at the same time."
    )
    if account.longest:
        within = f"{account.longest:.1f} s (goal: {GOAL:g} s)"
        said += f" What a dead worker had in hand ran again within {within}."
    if account.unexplained:
        said += f" {account.unexplained} were run again without a fault to blame."
    return said


def details(account: Account, start: float) -> Iterator[str]:
    """What was not as promised, a line each; seconds count from the start."""
    for each in account.lost:
        yield f"lost: {each}"
    for repeat in account.repeats:
        if repeat.overlapped or repeat.again - repeat.over > GOAL:
            how = "cut off" if repeat.was_cut else "done"
            moments = (repeat.began - start, repeat.over - start, repeat.again - start)
            begun, over, again = (f"{each:.1f} s" for each in moments)
            yield f"{repeat.key}: begun {begun}, {how} {over}, again {again}: {repeat.kind}"
