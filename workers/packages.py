"""Packages on this host's disk: fetched once, unpacked once, refused when hostile."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import BadZipFile, ZipFile, ZipInfo

from storage.errors import PackageError

#: AWS Lambda's quota for an unpacked package, bytes.
UNPACKED: Final = 250 * 1024 * 1024
#: No package of that size has more.
FILES: Final = 50_000
_CHUNK: Final = 1024 * 1024

Fetch = Callable[[str, Path], None]


class Packages:
    """Gives the folder of a package, by its SHA-256; calls from several threads are safe."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder.absolute()
        self._fetch = fetch
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def path(self, sha256: str) -> Path:
        """The folder with the package's files.

        Raises:
            PackageError: it is no zip, too large, or would write outside its folder.
        """
        unpacked = self._folder / sha256
        with self._locks[sha256]:
            if not unpacked.exists():
                self._unpack(sha256, unpacked)
        return unpacked

    def _unpack(self, sha256: str, to: Path) -> None:
        """Unpack beside the final place and rename: a folder that exists is whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as work:
            archive, files = Path(work) / "package.zip", Path(work) / "files"
            self._fetch(sha256, archive)
            files.mkdir()
            unpack(archive, files)
            files.chmod(0o755)
            os.rename(files, to)

    def remove_others(self, kept: set[str]) -> None:
        """Remove the packages that are not among these."""
        if self._folder.exists():
            for folder in self._folder.iterdir():
                if folder.name not in kept and not folder.name.startswith("."):
                    shutil.rmtree(folder, ignore_errors=True)


def unpack(archive: Path, to: Path) -> None:
    """Unpack a zip file into a folder.

    Raises:
        PackageError: it is damaged, too large, or holds what is no plain file below the folder.
    """
    try:
        with ZipFile(archive) as package:
            entries = package.infolist()
            if len(entries) > FILES:
                raise PackageError(f"the package has {len(entries):,} files; at most {FILES:,}")
            left = UNPACKED
            for entry in entries:
                left -= _unpack_entry(package, entry, to, left)
    except (BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise PackageError(f"the package cannot be unpacked: {error}") from error


def _unpack_entry(package: ZipFile, entry: ZipInfo, to: Path, left: int) -> int:
    """Unpack one entry; returns its size. What it says of its own size is not believed."""
    target = to / _place(entry)
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
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


def _place(entry: ZipInfo) -> PurePosixPath:
    """Where an entry goes, below the folder."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PackageError(f"{entry.filename!r} in the package is a link or a device")
    place = PurePosixPath(entry.filename)
    if place.is_absolute() or ".." in place.parts or "\\" in entry.filename:
        raise PackageError(f"{entry.filename!r} would be written outside the package's folder")
    return place
