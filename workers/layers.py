"""Layers on this host's disk: for each combination one folder, which functions see as /opt.

https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from storage.configuration import FunctionConfiguration
from storage.errors import PackageError
from workers.folder_cache import FolderCache
from workers.manifest import MANIFEST
from workers.packages import UNPACKED, Packages, unpacked_size


class Layers:
    """Gives the folder of a function's layers; calls from several threads are safe."""

    def __init__(self, folder: Path, packages: Packages) -> None:
        self._cache = FolderCache(folder)
        self._packages = packages

    def path(self, configuration: FunctionConfiguration) -> Path | None:
        """The folder with all of its layers, the last one on top; None: it has none.

        Raises:
            PackageError: a layer is damaged, or they are too large together.
            StoreUnavailable: the object store refused or did not answer.
        """
        if not configuration.layers:
            return None
        return self._cache.path(_digest(configuration), partial(self._combine, configuration))

    def keep_only(self, functions: Iterable[FunctionConfiguration]) -> None:
        """Of what earlier workers left, remove all that these functions do not use.

        Again, it does nothing.
        """
        self._cache.keep_only(_digest(each) for each in functions if each.layers)

    def _combine(self, configuration: FunctionConfiguration, to: Path) -> None:
        packages = [self._packages.path(layer.code_sha256) for layer in configuration.layers]
        size = sum(unpacked_size(package) for package in packages)
        if size > UNPACKED:
            names = ", ".join(f"{each.name}:{each.version}" for each in configuration.layers)
            raise PackageError(
                f"layers {names} have {size:,} bytes together; at most {UNPACKED:,} are allowed"
            )
        for package in packages:
            _lay(package, to)


def _digest(configuration: FunctionConfiguration) -> str:
    return sha256("".join(each.code_sha256 for each in configuration.layers).encode()).hexdigest()


def _lay(package: Path, to: Path) -> None:
    """Lay a package's files over what is there; of two with one name the new one wins."""
    for folder in _folders(package):
        place = to / folder.relative_to(package)
        if place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
        place.chmod(0o755)  # whatever the umask: functions have users of their own
        for file in os.scandir(folder):
            if file.is_file() and not (folder == package and file.name == MANIFEST):
                _put(Path(file.path), place / file.name)


def _folders(package: Path) -> Iterator[Path]:
    """The package's own first, each before those inside it."""
    return (Path(place) for place, _, _ in os.walk(package))


def _put(file: Path, at: Path) -> None:
    """Link it, which takes no room; copy it where the file system has no links to give."""
    if at.is_dir():
        shutil.rmtree(at)
    at.unlink(missing_ok=True)
    try:
        os.link(file, at)
    except OSError:
        shutil.copy2(file, at)
