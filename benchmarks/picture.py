"""Pictures of figures: PNG files in benchmarks/results."""

from __future__ import annotations

from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import RESULTS
from benchmarks.progress import say

#: Told apart by those who see colours otherwise, too (Okabe and Ito).
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
RED: Final = "#D55E00"
GREY: Final = "#7F7F7F"


def panels(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """An empty picture of so many panels, in reading order."""
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    found = [each for row in axes for each in row]
    for each in found:
        each.grid(visible=True, alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return figure, found


def save(figure: Figure, name: str) -> None:
    """Keep a picture."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.png"
    figure.savefig(path, dpi=110)
    say(f"drawn: {path}")
