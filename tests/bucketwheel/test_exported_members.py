"""The face: what `import bucketwheel` gives, and how little it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import bucketwheel

#: Packages that a function's own process must not have to import.
HEAVY = ("broker", "storage", "workers", "gateway", "celery", "redis", "pydantic", "minio", "boto3")


def _loaded(program: str) -> set[str]:
    """Top-level modules that are loaded in a fresh process after a program."""
    program = f"import json, sys\n{program}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_all_is_sorted_and_every_name_is_there() -> None:
    """Also those that are imported only when they are used."""
    assert bucketwheel.__all__ == sorted(bucketwheel.__all__)
    for name in bucketwheel.__all__:
        assert getattr(bucketwheel, name).__name__ == name


def test_a_star_imports_all() -> None:
    """As people do in a shell."""
    names: dict[str, Any] = {}
    exec("from bucketwheel import *", names)

    assert names.keys() - {"__builtins__"} == set(bucketwheel.__all__)


def test_a_name_that_there_is_not_is_no_attribute() -> None:
    """Said as Python says it."""
    with pytest.raises(AttributeError, match="module 'bucketwheel' has no attribute 'nothing'"):
        bucketwheel.nothing  # noqa: B018


@pytest.mark.parametrize(
    "program", ["import bucketwheel", "from bucketwheel import function; function(lambda e, c: 1)"]
)
def test_importing_and_declaring_stays_light(program: str) -> None:
    """Every cold start pays for it, and a package may bring its own copies of these."""
    assert not _loaded(program).intersection(HEAVY)


def test_the_handler_that_describes_packages_stays_light() -> None:
    """The code that it imports must find nothing of ours loaded."""
    assert not _loaded("import bucketwheel.declaration").intersection(HEAVY)


def test_what_is_imported_when_it_is_used_then_works() -> None:
    """The check above would pass for ever if nothing were ever imported."""
    assert {"broker", "redis"} <= _loaded("import bucketwheel; bucketwheel.invoke")
