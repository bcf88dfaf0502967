"""Photos of 12 megapixels and 2.5 MB a second; how, photo_race.py says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.photo import photo
from benchmarks.photo_race import Race, race
from benchmarks.row import Row


def measure(data: Path) -> Iterator[Row]:
    """Measure large photos."""
    image = photo(4_000, 3_000, 2_560_000)
    yield race(data, Race(f"12 MP of {len(image) / 1e6:.1f} MB", image, count=80, goal=0.95))
