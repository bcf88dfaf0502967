"""Lines on standard error that say how far it is."""

from __future__ import annotations

import time
from typing import Final

from rich.console import Console

_console: Final = Console(stderr=True, highlight=False)
_start: Final = time.monotonic()


def say(line: str) -> None:
    """Print a line, with the seconds since the start."""
    _console.print(f"[dim]{time.monotonic() - _start:6.1f} s[/]  {line}")
