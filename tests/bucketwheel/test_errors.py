"""Errors: each package draws its tree, and the drawing is right."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from broker import errors as broker_errors
from bucketwheel import errors as face_errors
from storage import errors as storage_errors
from storage.errors import BucketwheelError
from workers import errors as worker_errors

MODULES = [broker_errors, face_errors, storage_errors, worker_errors]


def _drawn(module: ModuleType) -> dict[str, str]:
    """Each class in the drawing with the one above it; the root has none."""
    found: dict[str, str] = {}
    way: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        drawn = re.match(r"^([│├└─ ]*)([A-Z]\w+)(?: {2,}\S.*)?$", line)
        if drawn:
            del way[len(drawn[1]) // 4 :]
            found[drawn[2]] = way[-1] if way else ""
            way.append(drawn[2])
    return found


def _defined(module: ModuleType) -> dict[str, type[BucketwheelError]]:
    return {
        name: each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__
    }


@pytest.mark.parametrize("module", MODULES)
def test_the_drawing_is_the_tree(module: ModuleType) -> None:
    """Who reads it knows what to catch."""
    drawn = _drawn(module)
    defined = {name: each.__bases__[0].__name__ for name, each in _defined(module).items()}

    assert drawn.pop("BucketwheelError") == ""
    defined.pop("BucketwheelError", None)
    assert drawn == defined


@pytest.mark.parametrize("module", MODULES)
def test_every_error_is_ours_and_says_when_it_is_raised(module: ModuleType) -> None:
    """One root to catch them all; one sentence each."""
    for each in _defined(module).values():
        assert issubclass(each, BucketwheelError)
        assert re.match(r"Raised when .+\.$", (each.__doc__ or "").strip())
