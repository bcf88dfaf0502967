"""Figures, each measured beside its comparison in one run; `make bench`."""

from pathlib import Path
from typing import Final

#: Where tables and pictures are kept.
RESULTS: Final = Path(__file__).parent / "results"
