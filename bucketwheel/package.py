"""Packing: a file or a folder of a user's becomes a package that deploys.

The same code gives the same bytes, and so the same SHA-256: entries are sorted, dates are fixed.
Whether the code is any good is not looked at here: deployment imports it in an environment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pydantic import ValidationError

from bucketwheel import modules
from bucketwheel.builds import python
from bucketwheel.content import reading, walked
from bucketwheel.errors import PackingError
from storage.configuration import ENVIRONMENT, LAYERS
from storage.functions import LARGEST_UPLOAD
from workers.manifest import MANIFEST, Manifest, in_words
from workers.packages import FILES, UNPACKED

#: The first moment a zip file can hold.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MB: Final = 1024 * 1024

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Package:
    """A packed file or folder."""

    path: Path
    manifest: Manifest
    files: int
    size: int

    @property
    def what(self) -> str:
        """How a line about it begins, where a deployment has several."""
        if self.manifest.layer is not None:
            return f"layer {self.manifest.layer.name}: "
        names = ", ".join(each.name for each in self.manifest.functions)
        return f"{names}: " if names else ""


@contextmanager
def packed(
    source: Path,
    environment: dict[str, str],
    tell: Tell = lambda line: None,
    leave_out: frozenset[Path] = frozenset(),
) -> Iterator[Package]:
    """Pack a `.py` file or a folder, with what its `requirements.txt` asks for; then remove it.

    Args:
        source: A file: only it is packed. A folder: all of it but caches and the like.
        environment: Variables for every function of the package.
        tell: Gets a line for each step that takes time.
        leave_out: Folders that are not code: a system's own data.

    Raises:
        PackingError: nothing declares a function, requirements do not install, it is too large,
            or a file cannot be read.
    """
    leave_out = frozenset(each.resolve() for each in leave_out)
    check_environment(environment)
    with reading(source):
        files = _file(source) if source.is_file() else _folder(source, leave_out)
        manifest = _manifest(source, files, environment)
    with tempfile.TemporaryDirectory(prefix="bucketwheel-") as work:
        folder = source.parent if source.is_file() else source
        for installed in python.installed(folder, Path(work), tell):
            files = {**walked(installed, frozenset()), **files}
        yield pack(source, files, manifest, Path(work) / "package.zip")


def pack(source: Path, files: dict[str, Path], manifest: Manifest, archive: Path) -> Package:
    """Write a package of files by their names in it; `source` is where they are from.

    Raises:
        PackingError: it is too large, a file cannot be read or has the manifest's name.
    """
    with reading(source):
        _write(archive, files, manifest)
    size = archive.stat().st_size
    if size > LARGEST_UPLOAD:
        raise PackingError(
            f"{source}: the package has {size / _MB:.1f} MB zipped; at most"
            f" {LARGEST_UPLOAD // _MB} MB are allowed: leave out what the function does not need"
        )
    return Package(archive, manifest, len(files), size)


def check_environment(variables: dict[str, str]) -> None:
    """Refuse what a function's environment cannot hold.

    Raises:
        PackingError: it is no text, or too large.
    """
    try:
        size = sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())
    except UnicodeEncodeError:
        raise PackingError("an environment variable is not UTF-8") from None
    if size > ENVIRONMENT:
        raise PackingError(f"environment variables have {size:,} bytes; at most {ENVIRONMENT:,}")


# -- what goes in ----------------------------------------------------------------------------------


def _file(source: Path) -> dict[str, Path]:
    if source.suffix != ".py":
        raise PackingError(
            f"{source} is no Python file: name a .py file, a folder, or a template.yaml"
        )
    return {source.name: source}


def _folder(source: Path, leave_out: frozenset[Path]) -> dict[str, Path]:
    if not source.is_dir():
        raise PackingError(f"{source} does not exist")
    return walked(source, leave_out)


def _manifest(source: Path, files: dict[str, Path], environment: dict[str, str]) -> Manifest:
    found = [source.stem] if source.is_file() else modules.declaring(files)
    if not found:
        raise PackingError(
            f"no function is declared in {source}: in a module at its top, write `from bucketwheel"
            ' import function`, and @function(bucket="...") above a handler f(event, context)'
        )
    for module in found:
        modules.check_module(module, source)
    layers = modules.layers(files, found)
    if len(layers) > LAYERS:
        raise PackingError(
            f"{source}: its functions name {len(layers)} layers; one package, which is imported"
            f" as a whole, can have {LAYERS}: deploy them apart"
        )
    try:
        return Manifest(modules=tuple(found), environment=environment, layers=layers)
    except ValidationError as error:
        raise PackingError(f"{source}: {in_words(error)}") from None


# -- the archive -----------------------------------------------------------------------------------


def _write(archive: Path, files: dict[str, Path], manifest: Manifest) -> None:
    if MANIFEST in files:
        raise PackingError(f"{files[MANIFEST]}: this name is the package's own; rename it")
    text = manifest.model_dump_json(indent=2, exclude_unset=True)
    _check_size(files, len(text.encode()))
    with ZipFile(archive, "w", ZIP_DEFLATED) as package:
        package.writestr(_entry(MANIFEST, executable=False), text)
        for name, path in sorted(files.items()):
            executable = bool(path.stat().st_mode & 0o100)
            package.writestr(_entry(name, executable), path.read_bytes())


def _check_size(files: dict[str, Path], manifest: int) -> None:
    """Refuse what workers would refuse: they count the manifest too, and every folder."""
    folders = {str(each) for name in files for each in PurePosixPath(name).parents}
    count = len(files) + 1
    if count + len(folders) > FILES:
        raise PackingError(
            f"the package has {count:,} files in {len(folders):,} folders; together at most"
            f" {FILES:,}: leave out what the function does not need"
        )
    size = manifest + sum(path.stat().st_size for path in files.values())
    if size > UNPACKED:
        raise PackingError(
            f"the package has {size / _MB:.1f} MB unzipped; at most {UNPACKED // _MB} MB are"
            " allowed: leave out what the function does not need"
        )


def _entry(name: str, executable: bool) -> ZipInfo:
    entry = ZipInfo(name, _DATE)
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix, whose file modes follow
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    return entry
