"""`python -m benchmarks.simulation`: simulate, print the rows, draw the picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from benchmarks.row import table
from benchmarks.simulation import measure

if __name__ == "__main__":
    Console().print(table(list(measure(Path()))))
