"""Photos of 0.3 megapixels and 70 kB a second; how, photo_race.py says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.photo import photo
from benchmarks.photo_race import Race, race
from benchmarks.row import Row


def measure(data: Path) -> Iterator[Row]:
    """Measure small photos."""
    image = photo(640, 480, 72_000)
    yield race(data, Race(f"0.3 MP of {len(image) / 1e3:.0f} kB", image, count=400, goal=0.9))
