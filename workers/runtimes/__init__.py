"""Runtimes: one file for each kind of function, chosen by the name that AWS has for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from storage.configuration import PYTHON
from workers.errors import RuntimeMissing
from workers.runtimes.java import VERSIONS, Java
from workers.runtimes.nodejs import MAJORS, Nodejs
from workers.runtimes.provided import Provided
from workers.runtimes.python import MINORS, Python
from workers.runtimes.runtime import Runtime

_KINDS: Final[Mapping[str, Callable[[str], Runtime]]] = {
    "python": Python,
    "nodejs": Nodejs,
    "java": Java,
    "provided": Provided,
}


def runtime(name: str) -> Runtime:
    """The runtime of that name, as a function's configuration has it: `python3.11`."""
    kind = re.match(r"[a-z]+", name)
    assert kind is not None
    return _KINDS[kind[0]](name)


#: Every name that an interpreter of this host may serve.
_NAMES: Final = (
    *dict.fromkeys((PYTHON, *(f"python3.{minor}" for minor in MINORS))),
    *(f"nodejs{major}.x" for major in MAJORS),
    *VERSIONS.values(),
)


def paths() -> tuple[Path, ...]:
    """All that the runtimes found on this host must be able to read of it; others are left out."""
    found = {path for name in _NAMES for path in _paths(name) if path.exists()}
    return tuple(sorted(found))


def _paths(name: str) -> tuple[Path, ...]:
    try:
        return runtime(name).paths()
    except RuntimeMissing:
        return ()
