"""Packing: a file or a folder of a user's becomes a package that deploys.

The same code gives the same bytes, and so the same SHA-256: entries are sorted, dates are fixed.
Whether the code is any good is not looked at here: deployment imports it in an environment.
"""

from __future__ import annotations

import ast
import json
import keyword
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bucketwheel.errors import PackingError
from storage.configuration import ENVIRONMENT
from storage.functions import LARGEST_UPLOAD
from workers.packages import DEPTH, FILES, UNPACKED

MANIFEST: Final = "bucketwheel.json"
REQUIREMENTS: Final = "requirements.txt"

#: What is never part of a package.
_FOLDERS: Final = frozenset(
    (".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea", ".vscode", ".bucketwheel")
) | {".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
#: Modules that are in every function's process, besides Python's own.
_TAKEN: Final = frozenset(("__main__", "awslambdaric", "bucketwheel", "runtime_client"))
_SUFFIXES: Final = (".pyc", ".pyo", ".DS_Store")
#: The first moment a zip file can hold.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MB: Final = 1024 * 1024

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Package:
    """A packed file or folder."""

    path: Path
    modules: tuple[str, ...]
    files: int
    size: int


@dataclass(slots=True)
class _Content:
    """Files by their name in the package, and the modules to look into."""

    files: dict[str, Path] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)


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
    _check_environment(environment)
    with _reading(source):
        content = _file(source) if source.is_file() else _folder(source, leave_out)
    with tempfile.TemporaryDirectory(prefix="bucketwheel-") as work:
        requirements = source.parent / REQUIREMENTS if source.is_file() else source / REQUIREMENTS
        if requirements.is_file():
            installed = Path(work) / "installed"
            _install(requirements, installed, tell)
            content.files = {**_walked(installed, frozenset()), **content.files}
        archive = Path(work) / "package.zip"
        with _reading(source):
            _write(archive, content, environment)
        size = archive.stat().st_size
        if size > LARGEST_UPLOAD:
            raise PackingError(
                f"the package has {size / _MB:.1f} MB zipped; at most {LARGEST_UPLOAD // _MB} MB"
                " are allowed: leave out what the function does not need"
            )
        yield Package(archive, tuple(content.modules), len(content.files), size)


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or source
        raise PackingError(f"{place} cannot be packed: {error.strerror}") from None


def _check_environment(variables: dict[str, str]) -> None:
    try:
        size = sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())
    except UnicodeEncodeError:
        raise PackingError("an environment variable is not UTF-8") from None
    if size > ENVIRONMENT:
        raise PackingError(f"environment variables have {size:,} bytes; at most {ENVIRONMENT:,}")


# -- what goes in ----------------------------------------------------------------------------------


def _file(source: Path) -> _Content:
    if source.suffix != ".py":
        raise PackingError(f"{source} is no Python file: name a .py file or a folder")
    _check_module(source.stem, source)
    return _Content({source.name: source}, [source.stem])


def _folder(source: Path, leave_out: frozenset[Path]) -> _Content:
    if not source.is_dir():
        raise PackingError(f"{source} does not exist")
    content = _Content(_walked(source, leave_out))
    content.modules = sorted(_modules(content.files))
    if not content.modules:
        raise PackingError(
            f"no function is declared in {source}: in a module at its top, write `from bucketwheel"
            ' import function`, and @function(bucket="...") above a handler f(event, context)'
        )
    for module in content.modules:
        _check_module(module, source)
    return content


def _modules(files: dict[str, Path]) -> Iterator[str]:
    """Modules and packages at the top that declare functions."""
    for name, path in files.items():
        module, _, rest = name.removesuffix(".py").partition("/")
        if name.endswith(".py") and rest in ("", "__init__") and _declares(path):
            yield module


def _declares(path: Path) -> bool:
    """Whether it takes the decorator: a script that only calls functions must not be imported."""
    content = path.read_bytes()
    if b"bucketwheel" not in content:
        return False
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return True  # deployment will say where and why
    return any(_names_decorator(node) for node in ast.walk(tree))


def _names_decorator(node: ast.AST) -> bool:
    """`from bucketwheel import function`, or `bucketwheel.function`, under whatever name."""
    if isinstance(node, ast.ImportFrom):
        ours = node.level == 0 and (node.module or "").split(".")[0] == "bucketwheel"
        return ours and any(each.name in ("function", "*") for each in node.names)
    return isinstance(node, ast.Attribute) and node.attr == "function"


def _check_module(name: str, source: Path) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise PackingError(f"{source}: {name!r} cannot be imported as a module: rename it")
    if name in sys.stdlib_module_names or name in _TAKEN:
        raise PackingError(
            f"{source}: {name!r} is also a module that functions run with: rename it, so that"
            " neither hides the other"
        )


def _walked(
    folder: Path, leave_out: frozenset[Path], name: str = "", way: tuple[Path, ...] = ()
) -> dict[str, Path]:
    """Files below a folder by their relative names; links are followed where they stay inside.

    `way` holds the resolved folders from the source down to this one's parent.
    """
    way = (*way, folder.resolve())
    found: dict[str, Path] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, inner = Path(entry.path), f"{name}{entry.name}"
        if entry.name in _FOLDERS:
            continue
        _check_name(path, inner)
        if entry.is_symlink():
            _check_link(path, way)
        if entry.is_dir():
            if not _is_junk(path, leave_out):
                found |= _walked(path, leave_out, f"{inner}/", way)
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


# -- requirements ----------------------------------------------------------------------------------


def _install(requirements: Path, target: Path, tell: Tell) -> None:
    """Install into the package, by the pip of this Python."""
    tell(f"installing {requirements}")
    command = [sys.executable, "-m", "pip", "install", "--target", str(target), "--no-compile"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--requirement", requirements.name]
    process = subprocess.Popen(
        command,
        cwd=requirements.parent.absolute(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if re.match(r"\s*(Collecting|Downloading|Building|Installing|Successfully)", line):
                tell(f"  {line.strip()}")
    if process.returncode:
        raise PackingError(f"{requirements} cannot be installed:\n" + "\n".join(_reason(lines)))
    target.mkdir(exist_ok=True)  # pip makes none for an empty list


def _reason(lines: list[str]) -> list[str]:
    """Pip's own words: its errors, else its last lines, which are where a trace of its own ends."""
    errors = [line for line in lines if re.match(r"\s*(ERROR|error)\b(?!: Exception:$)", line)]
    return [f"  {line}" for line in (errors or lines)[-10:]]


# -- the archive -----------------------------------------------------------------------------------


def _write(archive: Path, content: _Content, environment: dict[str, str]) -> None:
    if MANIFEST in content.files:
        raise PackingError(f"{content.files[MANIFEST]}: this name is the package's own; rename it")
    manifest = {"environment": dict(sorted(environment.items())), "modules": content.modules}
    text = json.dumps(manifest, indent=2)
    _check_size(content, len(text))
    with ZipFile(archive, "w", ZIP_DEFLATED) as package:
        package.writestr(_entry(MANIFEST, executable=False), text)
        for name, path in sorted(content.files.items()):
            executable = bool(path.stat().st_mode & 0o100)
            package.writestr(_entry(name, executable), path.read_bytes())


def _check_size(content: _Content, manifest: int) -> None:
    """Refuse what workers would refuse: they count the manifest too, and every folder."""
    folders = {str(each) for name in content.files for each in PurePosixPath(name).parents}
    files = len(content.files) + 1
    if files + len(folders) > FILES:
        raise PackingError(
            f"the package has {files:,} files in {len(folders):,} folders; together at most"
            f" {FILES:,}: leave out what the function does not need"
        )
    size = manifest + sum(path.stat().st_size for path in content.files.values())
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
