"""A row of the table: one figure beside its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, what it was measured against, and what is wanted."""

    what: str
    ours: str
    comparison: str
    #: Ours over the comparison, where both are of one kind.
    ratio: float | None
    goal: str
    reached: bool

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


def table(rows: Sequence[Row]) -> Table:
    """All rows, for people."""
    drawn = Table(title="Bucketwheel, measured beside its comparisons in one run")
    for heading in ("what", "ours", "comparison", "ratio", "goal", ""):
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        mark = "[green]reached[/]" if row.reached else "[red]short[/]"
        drawn.add_row(row.what, row.ours, row.comparison, ratio, row.goal, mark)
    return drawn
