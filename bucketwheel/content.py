"""What of a folder goes into a package: its files by name, without caches and the like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bucketwheel.errors import PackingError
from workers.packages import DEPTH

#: Folders that are never part of a package.
JUNK: Final = frozenset(
    (".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea", ".vscode", ".bucketwheel")
) | {".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", ".aws-sam"}
_SUFFIXES: Final = (".pyc", ".pyo", ".DS_Store")


@contextmanager
def reading(source: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the file.

    Raises:
        PackingError: a file cannot be read.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or source
        raise PackingError(f"{place} cannot be packed: {error.strerror}") from None


def walked(
    folder: Path, leave_out: frozenset[Path], name: str = "", way: tuple[Path, ...] = ()
) -> dict[str, Path]:
    """Files below a folder by their relative names; links are followed where they stay inside.

    `way` holds the resolved folders from the source down to this one's parent.

    Raises:
        PackingError: a name or a link is such that workers would refuse it.
    """
    way = (*way, folder.resolve())
    found: dict[str, Path] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, inner = Path(entry.path), f"{name}{entry.name}"
        if entry.name in JUNK:
            continue
        _check_name(path, inner)
        if entry.is_symlink():
            _check_link(path, way)
        if entry.is_dir():
            if not _is_junk(path, leave_out):
                found |= walked(path, leave_out, f"{inner}/", way)
        elif entry.is_file() and not entry.name.endswith(_SUFFIXES):
            found[inner] = path
    return found


def _check_name(path: Path, name: str) -> None:
    """Workers refuse what is named otherwise."""
    if "\\" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise PackingError(f"{str(path)!r} has a character in its name that a package cannot hold")
    if name.count("/") >= DEPTH:
        raise PackingError(f"{path} is too deep in folders: at most {DEPTH}")


def _check_link(path: Path, way: tuple[Path, ...]) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise PackingError(f"{path} is a link to nothing: remove it") from None
    if not target.is_relative_to(way[0]):
        raise PackingError(f"{path} is a link to outside the folder: copy what is needed into it")
    if any(each.is_relative_to(target) for each in way):
        raise PackingError(f"{path} is a link to a folder that it is in: remove it")


def _is_junk(folder: Path, leave_out: frozenset[Path]) -> bool:
    return (folder / "pyvenv.cfg").exists() or folder.resolve() in leave_out
