"""Layers on disk: laid over one another in their order, whole, once, and removed when unused."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.configuration import FunctionConfiguration, Layer
from storage.errors import PackageError
from workers.layers import Layers
from workers.manifest import MANIFEST
from workers.packages import UNPACKED, Packages


class _Host:
    """A host's disk, and a store of packages beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = folder / "store"
        self._store.mkdir()
        self.packages = Packages(folder / "packages", self._fetch)
        self.layers = Layers(folder / "layers", self.packages)

    def _fetch(self, name: str, to: Path) -> None:
        shutil.copy(self._store / name, to)

    def layer(self, files: dict[str, bytes], executable: str = "") -> Layer:
        """Publish a layer of these files."""
        made = self.folder / "made.zip"
        with ZipFile(made, "w") as archive:
            for name, content in files.items():
                entry = ZipInfo(name)
                entry.external_attr = (0o100755 if name == executable else 0o100644) << 16
                archive.writestr(entry, content)
        name = sha256(made.read_bytes()).hexdigest()
        made.rename(self._store / name)
        return Layer(name="some", version=1, code_sha256=name)

    def lay(self, *layers: Layer) -> Path:
        """The folder of a function with these layers."""
        found = self.layers.path(_function(*layers))
        assert found is not None
        return found


def _function(*layers: Layer) -> FunctionConfiguration:
    return FunctionConfiguration(
        name="crop",
        handler="app.handler",
        code_sha256="0" * 64,
        layers=layers,
        deployed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _files(folder: Path) -> dict[str, bytes]:
    found = [each for each in folder.rglob("*") if each.is_file()]
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


@pytest.fixture
def host(tmp_path: Path) -> _Host:
    """A host without any packages."""
    return _Host(tmp_path)


def test_a_function_without_layers_has_no_folder(host: _Host) -> None:
    """Nothing is made."""
    assert host.layers.path(_function()) is None
    assert not (host.folder / "layers").exists()


def test_the_last_layer_wins(host: _Host) -> None:
    """Files of the others stay; the manifest is none of a layer's files."""
    first = host.layer({"bin/a": b"1", "lib/one": b"1", MANIFEST: b"{}"})
    second = host.layer({"bin/a": b"2", "lib/two": b"2", f"python/{MANIFEST}": b"own"})

    assert _files(host.lay(first, second)) == {
        "bin/a": b"2",
        "lib/one": b"1",
        "lib/two": b"2",
        f"python/{MANIFEST}": b"own",
    }
    assert _files(host.lay(second, first))["bin/a"] == b"1"


def test_a_layer_itself_is_not_changed_by_another(host: _Host) -> None:
    """Files are links to its package, which other functions use alone."""
    first = host.layer({"bin/a": b"1"})
    host.lay(first, host.layer({"bin/a": b"2", "x": b""}))

    assert _files(host.packages.path(first.code_sha256)) == {"bin/a": b"1"}
    assert _files(host.lay(first)) == {"bin/a": b"1"}


def test_programs_stay_programs(host: _Host) -> None:
    """And everybody may enter folders and read files, whatever the umask."""
    umask = os.umask(0o077)
    try:
        found = host.lay(host.layer({"bin/tool": b"#!", "lib/data": b""}, executable="bin/tool"))
    finally:
        os.umask(umask)

    modes = {
        name: stat.S_IMODE((found / name).stat().st_mode)
        for name in ("", "bin", "bin/tool", "lib", "lib/data")
    }
    assert modes == {"": 0o755, "bin": 0o755, "bin/tool": 0o755, "lib": 0o755, "lib/data": 0o644}


def test_a_combination_is_made_once(host: _Host) -> None:
    """Also when several environments start at once."""
    layers = [host.layer({f"f{number}": b"x" * number}) for number in range(5)]
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: host.lay(*layers), range(16)))

    assert len(found) == 1
    assert os.listdir(host.folder / "layers") == [found.pop().name]


def test_layers_that_are_too_large_together_are_refused(host: _Host) -> None:
    """Lambda's quota is for all of them; nothing is left of the attempt."""
    half = bytes(UNPACKED // 2 + 1)
    layers = [host.layer({"a": half}), host.layer({"b": half})]

    with pytest.raises(PackageError, match=r"layers some:1, some:1 have .* bytes together"):
        host.lay(*layers)
    assert os.listdir(host.folder / "layers") == []


def test_what_no_function_uses_any_more_is_removed(host: _Host) -> None:
    """Of what earlier workers left; what is asked for now stays."""
    layers = [host.layer({each: b""}) for each in "abc"]
    used, asked, unused = [host.lay(each) for each in layers]
    later = Layers(host.folder / "layers", host.packages)
    later.path(_function(layers[1]))

    later.keep_only([_function(layers[0]), _function()])

    assert (used.exists(), asked.exists(), unused.exists()) == (True, True, False)
    later.keep_only([])
    assert used.exists()


_names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


def _is_possible(files: dict[str, bytes]) -> bool:
    return not any(other.startswith(f"{name}/") for name in files for other in files)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(_names, st.binary(max_size=3), min_size=1, max_size=4).filter(_is_possible),
        min_size=1,
        max_size=3,
    )
)
def test_any_layers_can_be_laid_over_one_another(contents: list[dict[str, bytes]]) -> None:
    """A file gives way to a later folder of its name, and a folder to a later file."""
    expected: dict[str, bytes] = {}
    for files in contents:
        for name in files:
            covered = [each for each in expected if each.startswith(f"{name}/")]
            above = [each for each in expected if name.startswith(f"{each}/")]
            for each in (*covered, *above):
                del expected[each]
        expected |= files
    with TemporaryDirectory() as folder:
        host = _Host(Path(folder))
        assert _files(host.lay(*map(host.layer, contents))) == expected
