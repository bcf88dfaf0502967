"""Packing: the code and nothing else, the same bytes each time, or a word about what is wrong."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketwheel.errors import PackingError
from bucketwheel.package import packed
from storage.functions import LARGEST_UPLOAD
from workers.manifest import MANIFEST, read_manifest
from workers.packages import DEPTH, FILES, UNPACKED, unpack

CODE = 'from bucketwheel import function\n\n\n@function(bucket="photos")\ndef crop(e, c): ...\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one module that declares a function."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "photos.py").write_text(CODE)
    return folder


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _bytes(source: Path, environment: dict[str, str] | None = None, **options: Any) -> bytes:
    with packed(source, environment or {}, **options) as package:
        return package.path.read_bytes()


def _names(source: Path, **options: Any) -> set[str]:
    with packed(source, {}, **options) as package, ZipFile(package.path) as archive:
        return set(archive.namelist())


def _refused(source: Path, match: str, **options: Any) -> None:
    with pytest.raises(PackingError, match=match), packed(source, {}, **options):
        pytest.fail("it was packed")


# -- what goes in ----------------------------------------------------------------------------------


def test_of_a_file_only_the_file_is_packed(source: Path) -> None:
    """Its neighbours may be anything."""
    _write(source, {"other.py": "import bucketwheel"})

    with packed(source / "photos.py", {"B": "2", "A": "1"}) as package:
        assert (package.manifest.modules, package.files) == (("photos",), 1)
        with ZipFile(package.path) as archive:
            assert archive.namelist() == [MANIFEST, "photos.py"]
            manifest = archive.read(MANIFEST)

    assert json.loads(manifest) == {
        "modules": ["photos"],
        "environment": {"A": "1", "B": "2"},
        "layers": [],
    }
    assert not package.path.exists()


def test_of_a_folder_all_is_packed_but_what_is_no_code(source: Path) -> None:
    """Caches, other people's tools, and environments of Python, whatever they are called."""
    _write(source, {"data/a.txt": "", ".env": "", "a/b/c.bin": ""})
    for junk in (".git", "a/__pycache__", ".venv", ".bucketwheel", "a/.mypy_cache"):
        (source / junk).mkdir(parents=True)
        (source / junk / "junk.txt").touch()
    _write(source, {"environment/pyvenv.cfg": "", "environment/lib/junk.py": ""})
    for junk in ("photos.pyc", "a/.DS_Store"):
        (source / junk).touch()

    assert _names(source) == {MANIFEST, "photos.py", "data/a.txt", ".env", "a/b/c.bin"}


def test_what_is_to_be_left_out_is_left_out(source: Path, tmp_path: Path) -> None:
    """A system's own data may lie among the code, and be named by way of a link."""
    _write(source, {"data/big.bin": ""})
    (tmp_path / "link").symlink_to(source)

    assert _names(source, leave_out=frozenset({tmp_path / "link" / "data"})) == {
        MANIFEST,
        "photos.py",
    }


def test_modules_are_those_at_the_top_that_declare_functions(source: Path) -> None:
    """Others are only packed: importing them may do anything."""
    _write(
        source,
        {
            "plain.py": "import json",
            "words.py": "# bucketwheel, in a comment",
            "caller.py": "from bucketwheel import invoke\ninvoke('f', {})",
            "late.py": "import bucketwheel as b\n@b.function\ndef f(event, context): ...",
            "relative.py": "from .bucketwheel import x",
            "broken.py": "import bucketwheel\ndef",
            "package/__init__.py": "from bucketwheel import function",
            "package/deep.py": "import bucketwheel",
            "folder/deep.py": "import bucketwheel",
            "notes.txt": "import bucketwheel",
        },
    )
    with packed(source, {}) as package:
        assert package.manifest.modules == ("broken", "late", "package", "photos")


def test_layers_that_decorators_name_are_in_the_manifest(source: Path) -> None:
    """The code may not be importable without them, so that deployment cannot ask it."""
    _write(
        source,
        {
            "photos.py": CODE.replace('"photos"', '"photos", layers=["fonts", "pillow:2"]'),
            "words.py": 'import bucketwheel as b\n@b.function(layers="fonts")\ndef f(e, c): ...',
            "model.py": 'from bucketwheel import *\nf(layers=["dense"])\n'
            "@function(layers=LAYERS)\ndef f(e, c): ...",
            "other.py": '@function(layers=["not-ours"])\ndef f(e, c): ...',
        },
    )
    with packed(source, {}) as package:
        assert package.manifest.layers == ("fonts", "pillow:2")
        assert read_manifest(package.path) == package.manifest


@pytest.mark.parametrize(
    ("layers", "match"),
    [('"a b"', "layers.0: "), (str(list("abcdef")), "name 6 layers; one package, .* can have 5")],
)
def test_layers_that_could_not_be_are_refused(source: Path, layers: str, match: str) -> None:
    """Before anything is uploaded."""
    (source / "photos.py").write_text(CODE.replace('"photos"', f'"photos", layers={layers}'))

    _refused(source, match)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("not-a-name", "'not-a-name' cannot be imported as a module: rename it"),
        ("class", "cannot be imported"),
        ("1st", "cannot be imported"),
        ("json", "'json' is also a module that functions run with: rename it"),
        ("bucketwheel", "functions run with"),
        ("runtime_client", "functions run with"),
        ("__main__", "functions run with"),
    ],
)
def test_a_module_that_could_not_be_imported_is_refused(
    tmp_path: Path, name: str, match: str
) -> None:
    """As a file and in a folder."""
    path = tmp_path / f"{name}.py"
    path.write_text(CODE)

    _refused(path, match)
    _refused(tmp_path, match)


def test_what_declares_nothing_is_refused_with_what_to_write(tmp_path: Path) -> None:
    """An empty folder, none at all, a file of another language."""
    (tmp_path / "index.js").touch()

    _refused(tmp_path, "no function is declared in .*from bucketwheel import function")
    _refused(tmp_path / "nowhere", "nowhere does not exist")
    _refused(tmp_path / "index.js", r"index\.js is no Python file: name a \.py file, a folder,")


def test_the_manifests_name_is_the_packages_own(source: Path) -> None:
    """Two files of one name would make the package useless."""
    (source / MANIFEST).touch()

    _refused(source, r"bucketwheel\.json: this name is the package's own")


# -- the same bytes --------------------------------------------------------------------------------


def test_the_same_code_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    """Wherever and whenever it lies, in whatever order it was written."""
    _write(source, {"a.txt": "1", "b/c.txt": "2"})
    copy = tmp_path / "copy"
    _write(copy, {"photos.py": CODE, "b/c.txt": "2", "a.txt": "1"})
    os.utime(copy / "a.txt", (0, 0))
    os.utime(copy / "photos.py", (2_000_000_000, 2_000_000_000))
    (copy / "a.txt").chmod(0o600)

    one = _bytes(source, {"A": "1", "B": "2"})
    two = _bytes(copy, {"B": "2", "A": "1"})

    assert sha256(one).hexdigest() == sha256(two).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda source: (source / "photos.py").write_text(CODE + "#"),
        lambda source: (source / "photos.py").chmod(0o755),
        lambda source: (source / "more.txt").touch(),
        lambda source: (source / "photos.py").rename(source / "pictures.py"),
    ],
)
def test_other_code_gives_other_bytes(source: Path, change: Callable[[Path], Any]) -> None:
    """A changed function must not be taken for the deployed one."""
    before = _bytes(source)
    change(source)

    assert _bytes(source) != before


def test_other_variables_give_other_bytes(source: Path) -> None:
    """They are a part of the version."""
    assert _bytes(source, {"A": "1"}) != _bytes(source, {"A": "2"})


#: Between dashes no name is that of junk.
_parts = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), max_size=40)
_files = st.dictionaries(
    st.lists(_parts.map("-{}-".format), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=64),
    max_size=5,
)


@settings(deadline=None)
@given(files=_files)
def test_what_is_packed_unpacks_to_the_same_files(files: dict[str, bytes]) -> None:
    """Whatever their names: what one side packs, the other side accepts."""
    with TemporaryDirectory() as folder:
        source, to = Path(folder, "source"), Path(folder, "to")
        source.mkdir()
        to.mkdir()
        written = {"photos.py": CODE.encode(), **_written(source, files)}
        (source / "photos.py").write_text(CODE)
        with packed(source, {}) as package:
            unpack(package.path, to)

        (to / MANIFEST).unlink()
        found = {str(p.relative_to(to)): p.read_bytes() for p in to.rglob("*") if p.is_file()}
        assert found == written


def _written(source: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """Write those files that can be beside each other."""
    written = {}
    for name, content in files.items():
        try:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        except OSError:
            continue
        written[name] = content
    return written


def test_execution_is_kept(source: Path, tmp_path: Path) -> None:
    """A package may bring a program along."""
    _write(source, {"program.sh": "#!/bin/sh"})
    (source / "program.sh").chmod(0o700)
    with packed(source, {}) as package:
        unpack(package.path, tmp_path)

    assert stat.S_IMODE((tmp_path / "program.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "photos.py").stat().st_mode) == 0o644


# -- links -----------------------------------------------------------------------------------------


def test_links_inside_the_folder_are_followed(source: Path) -> None:
    """A package itself has none."""
    _write(source, {"real/a.txt": ""})
    (source / "file.txt").symlink_to(source / "real" / "a.txt")
    (source / "folder").symlink_to("real")

    assert _names(source) == {MANIFEST, "photos.py", "real/a.txt", "file.txt", "folder/a.txt"}


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("../secret.txt", "is a link to outside the folder: copy what is needed"),
        ("..", "is a link to outside the folder"),
        ("/etc", "is a link to outside the folder"),
        ("nowhere", "is a link to nothing: remove it"),
        ("link", "is a link to nothing"),
        (".", "is a link to a folder that it is in"),
    ],
)
def test_links_that_lead_elsewhere_are_refused(source: Path, target: str, match: str) -> None:
    """A package must not take along what nobody meant, and must have an end."""
    (source.parent / "secret.txt").touch()
    (source / "link").symlink_to(target)

    _refused(source, f"link {match}")


def test_links_that_lead_to_each_other_are_refused(source: Path) -> None:
    """Each alone is fine; followed, they would lead on until the system gives up."""
    for here, there in (("a", "b"), ("b", "a")):
        (source / here).mkdir()
        (source / here / "link").symlink_to(Path("..", there))

    _refused(source, "is a link to a folder that it is in")


def test_a_link_among_what_is_left_out_is_nobodys_business(source: Path) -> None:
    """An environment of Python is often one, to outside."""
    (source.parent / "environment").mkdir()
    (source / ".venv").symlink_to(source.parent / "environment")

    assert _names(source) == {MANIFEST, "photos.py"}


# -- limits ----------------------------------------------------------------------------------------


def test_a_package_may_be_as_large_as_workers_allow_and_no_larger(source: Path) -> None:
    """They count the manifest too."""
    with (source / "big.bin").open("wb") as file:
        file.truncate(UNPACKED - len(CODE) - 1)

    _refused(source, r"the package has 250\.0 MB unzipped; at most 250 MB are allowed")


def test_a_package_that_does_not_shrink_enough_is_refused(source: Path) -> None:
    """As it is uploaded in one piece."""
    (source / "noise.bin").write_bytes(os.urandom(LARGEST_UPLOAD))

    _refused(source, r"the package has 50\.\d MB zipped; at most 50 MB are allowed")


def test_there_may_be_as_many_files_as_workers_allow_and_no_more(source: Path) -> None:
    """They count folders too: the one at the top, a hundred below it, and the manifest."""
    for folder in range(100):
        (source / str(folder)).mkdir()
    for number in range(FILES - 102):
        os.link(source / "photos.py", source / str(number % 100) / f"{number}.txt")

    _refused(source, "the package has 49,900 files in 101 folders; together at most 50,000")


def test_what_workers_would_refuse_for_its_name_is_refused_here(source: Path) -> None:
    """The person is at hand to rename it."""
    for name in ("a\\b", os.fsdecode(b"\xff")):
        path = source / name
        path.touch()
        _refused(source, "has a character in its name that a package cannot hold")
        path.unlink()
    deep = source / "/".join("a" * (DEPTH - 1))
    deep.mkdir(parents=True)
    (deep / "good").touch()
    assert len(_names(source)) == 3
    (deep / "b").mkdir()
    (deep / "b" / "bad").touch()
    _refused(source, "is too deep in folders: at most 100")


def test_variables_beyond_lambdas_quota_are_refused(source: Path) -> None:
    """Before anything is uploaded."""
    with pytest.raises(PackingError, match="have 4,097 bytes; at most 4,096"):
        _bytes(source, {"A": "x" * 4_096})
    with pytest.raises(PackingError, match="an environment variable is not UTF-8"):
        _bytes(source, {"A": os.fsdecode(b"\xff")})


def test_what_cannot_be_read_is_told() -> None:
    """By its name; a trace would help nobody."""
    user = os.geteuid()
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _write(Path(folder), {"photos.py": CODE, "secret.txt": ""})
        Path(folder, "secret.txt").chmod(0)
        os.seteuid(user or 65_534)  # root may read everything
        try:
            _refused(Path(folder), r"/secret\.txt cannot be packed: Permission denied")
        finally:
            os.seteuid(user)


# -- requirements ----------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A project that pip can install without asking anybody."""
    folder = tmp_path / "library"
    wheel = folder / "wonder-1.0-py3-none-any.whl"
    folder.mkdir()
    metadata = "Metadata-Version: 2.1\nName: wonder\nVersion: 1.0\n"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("wonder/__init__.py", "answer = 42\n")
        archive.writestr("photos.py", "the library's")
        archive.writestr("wonder-1.0.dist-info/METADATA", metadata)
        archive.writestr("wonder-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("wonder-1.0.dist-info/RECORD", "")
    return wheel


def test_requirements_are_installed_into_the_package(source: Path, library: Path) -> None:
    """The user's own files win, and each step is told."""
    (source / "requirements.txt").write_text(str(library))
    told: list[str] = []
    with packed(source, {}, told.append) as package, ZipFile(package.path) as archive:
        assert archive.read("wonder/__init__.py") == b"answer = 42\n"
        assert archive.read("photos.py") == CODE.encode()
        assert len(archive.namelist()) == len(set(archive.namelist()))

    assert told[0] == f"installing {source / 'requirements.txt'}"
    assert any("Installing" in line for line in told)


def test_a_files_requirements_lie_beside_it(source: Path, library: Path) -> None:
    """By the same name."""
    (source / "requirements.txt").write_text(str(library))

    assert "wonder/__init__.py" in _names(source / "photos.py")


def test_the_same_requirements_give_the_same_bytes(source: Path, library: Path) -> None:
    """Nothing that pip writes down depends on when or where it ran."""
    (source / "requirements.txt").write_text(str(library))

    assert _bytes(source) == _bytes(source)


def test_no_requirements_are_none(source: Path) -> None:
    """A file with nothing but a comment."""
    (source / "requirements.txt").write_text("# nothing\n")

    assert _names(source) == {MANIFEST, "photos.py", "requirements.txt"}


def test_requirements_that_do_not_install_are_told_in_pips_words(source: Path) -> None:
    """Its error, not all it says."""
    (source / "requirements.txt").write_text("./is-not-there.whl\n")

    _refused(source, r"requirements\.txt cannot be installed:\n  ERROR: .*is-not-there\.whl")
