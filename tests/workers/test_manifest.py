"""Manifests: whatever stands in a package, it is one of the three kinds, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import PackageError
from workers.manifest import MANIFEST, Manifest, read_manifest

_names = st.sampled_from(
    ["modules", "functions", "layer", "layers", "environment", "name", "handler", "runtime"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "../a", "python3.11", "a.b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


def _read(content: bytes) -> Manifest | None:
    """The manifest; None, if it was refused in words."""
    with TemporaryDirectory() as folder:
        package = Path(folder) / "package.zip"
        with ZipFile(package, "w") as archive:
            archive.writestr(MANIFEST, content)
        try:
            return read_manifest(package)
        except PackageError as error:
            assert "is not a package made by `bucketwheel deploy`: " in str(error)
            return None


@settings(deadline=None)
@given(st.dictionaries(_names, _values, max_size=3) | _values)
def test_any_json_is_of_one_kind_or_refused(document: Any) -> None:
    """Nothing is left for later steps to stumble over."""
    found = _read(json.dumps(document).encode())
    if found is not None:
        assert bool(found.modules) + bool(found.functions) + (found.layer is not None) == 1


@settings(deadline=None)
@given(st.binary(max_size=50))
def test_any_bytes_are_refused_in_words(content: bytes) -> None:
    """No JSON, no UTF-8, nothing."""
    assert _read(content) is None


def test_each_kind_is_read_as_it_was_written() -> None:
    """What the client packs is what the worker deploys."""
    for written in (
        Manifest(modules=("a", "b"), environment={"B": "2", "A": "1"}, layers=("fonts:2",)),
        Manifest.model_validate({"functions": [{"name": "f", "handler": "a.b"}]}),
        Manifest.model_validate({"layer": {"name": "fonts", "runtimes": ["java17"]}}),
    ):
        assert _read(written.model_dump_json(exclude_unset=True).encode()) == written
