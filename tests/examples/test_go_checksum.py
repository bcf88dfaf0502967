"""The example in Go: checksums of releases."""

from __future__ import annotations

import hashlib

import pytest

from bucketwheel.testing import System
from tests.examples.conftest import Made, deployed


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System) -> None:
    deployed(system, "go_checksum", "go", "provided.al2023")


@pytest.mark.parametrize(
    ("name", "size"), [("empty", 0), ("sub/Größe 1+1.tar.gz", 1_000), ("large.bin", 150_000_000)]
)
def test_an_object_gets_its_checksum(made: Made, name: str, size: int) -> None:
    """As `sha256sum --check` reads it; an object may be larger than the function's memory."""
    body = b"\x17" * size

    line = made("releases", f"files/{name}", body, f"sha256/{name}.sha256")

    expected = f"{hashlib.sha256(body).hexdigest()}  {name.rpartition('/')[2]}\n"
    assert line.decode() == expected
