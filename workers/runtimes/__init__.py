"""Runtimes: one file for each kind of function, chosen by the name that AWS has for it."""

from __future__ import annotations

from workers.runtimes.python import Python
from workers.runtimes.runtime import Runtime


def runtime(name: str) -> Runtime:
    """The runtime of that name."""
    return Python()
