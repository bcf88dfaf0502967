"""Packages on this host's disk: fetched once, unpacked once, refused when hostile."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, takewhile
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from storage.errors import PackageError
from workers.compilation import compile_modules
from workers.folder_cache import FolderCache

#: AWS Lambda's quota for an unpacked package, bytes.
UNPACKED: Final = 250 * 1024 * 1024
#: Files and folders; no package of that size has more.
FILES: Final = 50_000
#: Folders in one another; deeper ones could not even be removed again (`shutil.rmtree`).
DEPTH: Final = 100
#: What the system says of a bad package; any other fault is this host's, and may pass.
_PACKAGES: Final = (None, errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)
_CHUNK: Final = 1024 * 1024

Fetch = Callable[[str, Path], None]


class Packages:
    """Gives the folder of a package, by its SHA-256; calls from several threads are safe."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._cache = FolderCache(folder)
        self._fetch = fetch

    def path(self, sha256: str) -> Path:
        """The folder with the package's files.

        Raises:
            PackageError: it is no zip, too large, or would write outside its folder.
        """
        return self._cache.path(sha256, partial(self._unpack, sha256))

    def _unpack(self, sha256: str, to: Path) -> None:
        archive = to.with_name("package.zip")
        self._fetch(sha256, archive)
        unpack(archive, to)
        compile_modules(to)

    def keep_only(self, used: Iterable[str]) -> None:
        """Of what earlier workers left, remove all but these packages; again, it does nothing."""
        self._cache.keep_only(used)


def unpacked_size(folder: Path) -> int:
    """Bytes of all files below a folder, but for what `compile_modules` has added."""
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        if os.path.basename(place) != "__pycache__"
        for name in names
    )


def unpack(archive: Path, to: Path) -> None:
    """Unpack a zip file into a folder.

    Raises:
        PackageError: it is damaged, too large, or holds what is no plain file below the folder.
        OSError: this host cannot store it.
    """
    try:
        with ZipFile(archive) as package:
            folders, files = _plan(package)
            for folder in sorted(folders):
                (to / folder).mkdir(exist_ok=True)
                (to / folder).chmod(0o755)  # whatever the worker's umask: others read it
            left = UNPACKED
            for place, entry in files.items():
                left -= _write(package, entry, to / place, left)
    except OSError as error:
        if error.errno not in _PACKAGES:
            raise
        raise PackageError(f"the package cannot be unpacked: {error.strerror or error}") from error
    except (BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise PackageError(f"the package cannot be unpacked: {error}") from error


def _plan(package: ZipFile) -> tuple[set[PurePosixPath], dict[PurePosixPath, ZipInfo]]:
    """Which folders to make and which files to write, before anything is."""
    folders, files = {PurePosixPath()}, dict[PurePosixPath, ZipInfo]()
    for entry in package.infolist():
        place = _place(entry)
        if entry.is_dir():
            folders.update(_missing(place, folders))
        elif place in files:
            raise PackageError(f"{entry.filename!r} is in the package twice")
        else:
            folders.update(_missing(place.parent, folders))
            files[place] = entry
        if len(folders) + len(files) > FILES:
            raise PackageError(f"the package has over {FILES:,} files and folders")
    for both in folders & files.keys():
        raise PackageError(f"'{both}' is in the package as a file and as a folder")
    return folders, files


def _missing(folder: PurePosixPath, known: set[PurePosixPath]) -> list[PurePosixPath]:
    """A folder and those above it, up to the first known: a name may ask for thousands."""
    return list(takewhile(lambda each: each not in known, chain([folder], folder.parents)))


def _place(entry: ZipInfo) -> PurePosixPath:
    """Where an entry goes, below the folder."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PackageError(f"{entry.filename!r} in the package is a link or a device")
    place = PurePosixPath(entry.filename)
    if not place.parts and not entry.filename.endswith("/"):
        raise PackageError("a file in the package has no name")
    if place.is_absolute() or ".." in place.parts or "\\" in entry.filename:
        raise PackageError(f"{entry.filename!r} would be written outside the package's folder")
    if len(place.parts) > DEPTH:
        raise PackageError(f"{entry.filename[:100]!r} in the package is too deep in folders")
    check_method(entry)
    return place


def check_method(entry: ZipInfo) -> None:
    """Refuse Python's bzip2 and LZMA readers: they expand a bomb before any limit is seen.

    Raises:
        PackageError: the entry is compressed by one of them, or by what Python does not know.
    """
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise PackageError(f"{entry.filename!r} in the package is compressed by no common method")


def _write(package: ZipFile, entry: ZipInfo, target: Path, left: int) -> int:
    """Unpack one file; returns its size. What it says of its own size is not believed."""
    written = 0
    with package.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise PackageError(f"the package has over {UNPACKED // 1024**2} MB unpacked")
            file.write(chunk)
    executable = (entry.external_attr >> 16) & stat.S_IXUSR
    target.chmod(0o755 if executable else 0o644)
    return written
