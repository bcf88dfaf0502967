"""Packages: unpacked once and whole, or refused with a reason; never outside their folder."""

from __future__ import annotations

import io
import os
import resource
import stat
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import PackageError, StoreUnavailable
from workers.packages import DEPTH, FILES, UNPACKED, Packages, unpack

_MB = 1024 * 1024


def _zip(*entries: tuple[str | ZipInfo, bytes], method: int = ZIP_DEFLATED) -> bytes:
    """An archive of these entries, whatever they are."""
    made = io.BytesIO()
    with ZipFile(made, "w", method) as package:
        for name, content in entries:
            info = name if isinstance(name, ZipInfo) else _entry(name)
            info.compress_type = method
            package.writestr(info, content)
    return made.getvalue()


def _entry(name: str, mode: int = stat.S_IFREG | 0o644) -> ZipInfo:
    info = ZipInfo("x")
    info.filename = name  # as it is: the constructor cuts at a NUL
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _unpack(folder: Path, archive: bytes) -> dict[str, bytes]:
    """Unpack an archive; returns the files by name, and checks that nothing lies beside them."""
    (folder / "package.zip").write_bytes(archive)
    (folder / "files").mkdir()
    try:
        unpack(folder / "package.zip", folder / "files")
    finally:
        assert sorted(os.listdir(folder)) == ["files", "package.zip"]
    found = [each for each in (folder / "files").rglob("*") if not each.is_dir()]
    assert all(each.is_file() and not each.is_symlink() for each in found)
    return {str(each.relative_to(folder / "files")): each.read_bytes() for each in found}


# -- good archives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_files_come_out_as_they_went_in(tmp_path: Path, method: int) -> None:
    """Folders need no entries of their own, but may have them."""
    archive = _zip(
        ("photos.py", b"def crop(): ...\n"),
        ("a/b/é.bin", bytes(range(256))),
        ("a/b/", b""),
        ("./empty", b""),
        method=method,
    )

    assert _unpack(tmp_path, archive) == {
        "photos.py": b"def crop(): ...\n",
        "a/b/é.bin": bytes(range(256)),
        "empty": b"",
    }


def test_of_a_files_mode_only_its_execution_is_kept(tmp_path: Path) -> None:
    """Set-user-id bits and files that nobody may read are none of a package's."""
    modes = {"plain": 0o644, "program": 0o755, "setuid": 0o6755, "closed": 0o000}
    _unpack(tmp_path, _zip(*((_entry(name, 0o100000 | mode), b"") for name, mode in modes.items())))

    found = {name: stat.S_IMODE((tmp_path / "files" / name).stat().st_mode) for name in modes}
    assert found == {"plain": 0o644, "program": 0o755, "setuid": 0o755, "closed": 0o644}


def test_everybody_may_enter_its_folders_whatever_the_umask(tmp_path: Path) -> None:
    """Functions may have users of their own."""
    umask = os.umask(0o077)
    try:
        _unpack(tmp_path, _zip(("a/b/photos.py", b"")))
    finally:
        os.umask(umask)

    found = [tmp_path / "files" / each for each in (".", "a", "a/b")]
    assert [stat.S_IMODE(each.stat().st_mode) for each in found] == [0o755] * 3


_names = st.lists(
    st.text(
        st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1
    ).filter(lambda part: part not in (".", "..") and len(part.encode()) <= 255),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(deadline=None)
@given(files=st.dictionaries(_names, st.binary(max_size=64), max_size=6))
def test_whatever_files_a_folder_could_hold_come_out(files: dict[str, bytes]) -> None:
    """Only a file that is a folder as well cannot be."""
    folders = {name[:at] for name in files for at, text in enumerate(name) if text == "/"}
    with TemporaryDirectory() as folder:
        if folders & files.keys():
            with pytest.raises(PackageError, match="as a file and as a folder"):
                _unpack(Path(folder), _zip(*files.items()))
        else:
            assert _unpack(Path(folder), _zip(*files.items())) == files


# -- hostile archives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "a/..",
        "..",
        "/evil",
        "//evil",
        "/",
        "..\\evil",
        "C:\\evil",
        "a\\b",
        "\\\\host\\share",
    ],
)
def test_a_file_that_would_be_written_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Also by another system's rules: whoever made it meant something else."""
    with pytest.raises(PackageError, match="would be written outside the package's folder"):
        _unpack(tmp_path, _zip(("good", b""), (name, b"evil")))


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK]
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: int) -> None:
    """A link could lead anywhere, and what comes after it would follow."""
    with pytest.raises(PackageError, match="'out' in the package is a link or a device"):
        _unpack(tmp_path, _zip((_entry("out", kind | 0o777), b"/etc"), ("out/passwd", b"evil")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("a", "a/"), ("a/b/c", "a/b")],
)
def test_a_name_twice_is_refused(tmp_path: Path, first: str, second: str) -> None:
    """What is looked at must be what runs; the message does not tell where we keep it."""
    with pytest.raises(PackageError, match=r"is in the package (twice|as a file and)") as refused:
        _unpack(tmp_path, _zip((first, b"good"), (second, b"evil")))

    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("name", ["", ".", "a" * 256, "a/" * 2_100 + "a", "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever the system says of it."""
    try:
        found = _unpack(tmp_path, _zip((name, b"evil")))
    except PackageError:
        return
    assert found == {"a": b"evil"}  # the reader cuts a name at its NUL


def test_a_bomb_goes_off_at_the_quota(tmp_path: Path) -> None:
    """A few kilobytes that unpack to more than a package may have."""
    zeros = bytes(_MB)
    archive = _zip(*((f"{number}", zeros) for number in range(UNPACKED // _MB + 1)))

    with pytest.raises(PackageError, match="over 250 MB unpacked"):
        _unpack(tmp_path, archive)

    assert sum(each.stat().st_size for each in tmp_path.rglob("*")) < UNPACKED + 2 * _MB


def _lying(size: int) -> bytes:
    """An archive of 3 MB that says another size of itself."""
    archive = bytearray(_zip(("a", bytes(3 * _MB))))
    struct.pack_into("<L", archive, 22, size)
    struct.pack_into("<L", archive, archive.index(b"PK\x01\x02") + 24, size)
    return bytes(archive)


@pytest.mark.parametrize("lie", [0, 1, _MB])
def test_more_than_an_entry_says_is_damage(tmp_path: Path, lie: int) -> None:
    """Told small to pass a check, it does not come out large."""
    with pytest.raises(PackageError, match="cannot be unpacked"):
        _unpack(tmp_path, _lying(lie))

    assert (tmp_path / "files" / "a").stat().st_size <= lie


def test_less_than_an_entry_says_is_what_it_has(tmp_path: Path) -> None:
    """Sizes are counted as they come, never taken from the archive."""
    assert _unpack(tmp_path, _lying(2**31)) == {"a": bytes(3 * _MB)}


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_LZMA])
def test_methods_whose_readers_know_no_bounds_are_refused(tmp_path: Path, method: int) -> None:
    """A kilobyte of bzip2 may be gigabytes of memory before anybody can count them."""
    archive = _zip(("a", bytes(32 * _MB)), method=method)

    with pytest.raises(PackageError, match="'a' in the package is compressed by no common method"):
        _unpack(tmp_path, archive)

    assert not (tmp_path / "files" / "a").exists()


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    """Each costs more on the disk than it has bytes."""
    archive = _zip(*((f"{number}", b"") for number in range(FILES + 1)), method=ZIP_STORED)

    with pytest.raises(PackageError, match="over 50,000 files and folders"):
        _unpack(tmp_path, archive)


def test_folders_count_as_files(tmp_path: Path) -> None:
    """One entry's name can ask for a hundred of them."""
    deep = "/".join("a" * (DEPTH - 2))
    archive = _zip(*((f"{number}/{deep}/a", b"") for number in range(FILES // (DEPTH - 2))))

    with pytest.raises(PackageError, match="over 50,000 files and folders"):
        _unpack(tmp_path, archive)


def test_folders_that_could_not_be_removed_again_are_not_made(tmp_path: Path) -> None:
    """Python's own removal of a tree goes as deep as its stack."""
    with pytest.raises(PackageError, match="is too deep in folders"):
        _unpack(tmp_path, _zip(("a/" * DEPTH + "a", b"")))


# -- damaged archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", [b"", b"PK", b"<html>", bytes(1_000), b"PK\x05\x06" + bytes(9)])
def test_what_is_no_zip_is_refused(tmp_path: Path, archive: bytes) -> None:
    """In words, whatever it is."""
    with pytest.raises(PackageError, match="the package cannot be unpacked: "):
        _unpack(tmp_path, archive)


def test_an_encrypted_package_is_refused(tmp_path: Path) -> None:
    """There is nobody to ask for the password."""
    archive = bytearray(_zip(("a", b"x")))
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(PackageError, match="password"):
        _unpack(tmp_path, bytes(archive))


_GOOD = _zip(("photos.py", b"def crop(): ...\n" * 20), ("a/b.txt", bytes(range(256))), ("c/", b""))


@settings(deadline=None)
@given(
    spoilt=st.lists(
        st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.integers(0, 40),
)
def test_a_damaged_package_is_refused_or_whole_but_nothing_else(
    spoilt: list[tuple[int, int]], cut: int
) -> None:
    """Any other error would leave the environment that waits for it waiting."""
    archive = bytearray(_GOOD)
    for at, value in spoilt:
        archive[at] = value
    with TemporaryDirectory() as folder:
        try:
            _unpack(Path(folder), bytes(archive[: len(archive) - cut]))
        except PackageError as refused:
            assert folder not in str(refused)


def test_a_fault_of_this_host_is_not_the_packages(tmp_path: Path) -> None:
    """A refused package is never tried again; here nothing more can be opened."""
    (tmp_path / "package.zip").write_bytes(_GOOD)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as refused:
            unpack(tmp_path / "package.zip", tmp_path / "files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert not isinstance(refused.value, PackageError)


# -- this host's disk ------------------------------------------------------------------------------


class _Store:
    """Counts what is fetched."""

    def __init__(self, *archives: bytes) -> None:
        self.archives = {sha256(each).hexdigest(): each for each in archives}
        self.fetched: list[str] = []

    @property
    def names(self) -> list[str]:
        return list(self.archives)

    def fetch(self, name: str, to: Path) -> None:
        self.fetched.append(name)
        if name not in self.archives:
            raise StoreUnavailable(name)
        to.write_bytes(self.archives[name])


def test_a_package_is_fetched_and_unpacked_once(tmp_path: Path) -> None:
    """Also by a worker that starts anew."""
    store = _Store(_GOOD)
    (name,) = store.names
    first = Packages(tmp_path / "packages", store.fetch).path(name)

    assert Packages(tmp_path / "packages", store.fetch).path(name) == first
    assert (first / "photos.py").exists()
    assert store.fetched == [name]


def test_threads_that_want_the_same_package_wait_for_one_to_fetch_it(tmp_path: Path) -> None:
    """A burst of starts asks for it all at once."""
    store = _Store(_GOOD)
    (name,) = store.names
    packages = Packages(tmp_path / "packages", store.fetch)

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(packages.path, [name] * 32))

    assert found == {tmp_path / "packages" / name}
    assert store.fetched == [name]


def test_a_slow_package_does_not_hold_up_another(tmp_path: Path) -> None:
    """Functions wait for their own code only."""
    store, began, may_end = _Store(_GOOD, _zip(("b", b""))), threading.Event(), threading.Event()
    slow, quick = store.names

    def fetch(name: str, to: Path) -> None:
        if name == slow:
            began.set()
            assert may_end.wait(60)
        store.fetch(name, to)

    packages = Packages(tmp_path / "packages", fetch)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(packages.path, slow)
        assert began.wait(60)
        assert packages.path(quick).exists()
        may_end.set()
        assert waiting.result().exists()


@pytest.mark.parametrize("archive", [b"damaged", _zip(("good", b""), ("../evil", b""))])
def test_a_refused_package_leaves_nothing(tmp_path: Path, archive: bytes) -> None:
    """A folder that exists is whole; the next try begins anew, and is refused as well."""
    store = _Store(archive)
    (name,) = store.names
    packages = Packages(tmp_path / "packages", store.fetch)

    for _ in range(2):
        with pytest.raises(PackageError):
            packages.path(name)
        assert os.listdir(tmp_path / "packages") == []


def test_a_store_that_is_away_is_asked_again_the_next_time(tmp_path: Path) -> None:
    """Nothing of the failed try remains."""
    store = _Store(_GOOD)
    (name,) = store.names
    kept = store.archives.pop(name)
    packages = Packages(tmp_path / "packages", store.fetch)

    with pytest.raises(StoreUnavailable):
        packages.path(name)
    store.archives[name] = kept

    assert packages.path(name).exists()


def test_what_earlier_workers_left_goes_but_for_what_is_used(tmp_path: Path) -> None:
    """Packages of versions that nobody runs any more, and half unpacked ones, fill the disk."""
    for name in ("used", "deployed", "old", ".new-half"):
        (tmp_path / name).mkdir()
    packages = Packages(tmp_path, _no_fetch)
    packages.path("used")
    (tmp_path / "young").mkdir()
    packages.keep_only(["deployed"])

    assert sorted(each.name for each in tmp_path.iterdir()) == ["deployed", "used", "young"]


def _no_fetch(sha256: str, to: Path) -> None:
    raise AssertionError("it is here already")
