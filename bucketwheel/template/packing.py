"""Packing what a template asks for: its layers, and a package for functions of the same code."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bucketwheel.builds import Code
from bucketwheel.content import reading
from bucketwheel.errors import PackingError
from bucketwheel.package import Package, Tell, check_environment, pack
from bucketwheel.template.template import Template
from storage.configuration import FunctionDeclaration
from storage.errors import PackageError
from workers.manifest import LayerDeclaration, Manifest


@contextmanager
def packed(
    template: Template, environment: dict[str, str], tell: Tell, leave_out: frozenset[Path]
) -> Iterator[list[Package]]:
    """Build and pack everything, layers first; then remove it.

    Args:
        template: What to pack.
        environment: Variables for every function.
        tell: Gets a line for each step that takes time, and for what has no meaning here.
        leave_out: Folders that are not code: a system's own data.

    Raises:
        PackingError: something does not build, is too large, or cannot be read.
    """
    check_environment(environment)
    for remark in template.remarks:
        tell(remark)
    manifests = [(code, Manifest(layer=layer)) for layer, code in template.layers]
    manifests += [
        (code, Manifest(functions=functions, environment=environment))
        for code, functions in _by_code(template).items()
    ]
    with tempfile.TemporaryDirectory(prefix="bucketwheel-") as work:
        packages = []
        for at, (code, manifest) in enumerate(manifests):
            folder = Path(work) / str(at)
            folder.mkdir()
            packages.append(_packed(code, manifest, folder, tell, leave_out))
        yield packages


@contextmanager
def packed_layer(
    layer: LayerDeclaration, source: Path, tell: Tell, leave_out: frozenset[Path]
) -> Iterator[Package]:
    """Pack a folder or .zip as a layer; then remove it.

    Raises:
        PackingError: it is neither, too large, or cannot be read.
    """
    if source.is_file() and source.suffix != ".zip":
        raise PackingError(f"{source} is no folder and no .zip")
    with tempfile.TemporaryDirectory(prefix="bucketwheel-") as work:
        yield _packed(Code(source), Manifest(layer=layer), Path(work), tell, leave_out)


def _by_code(template: Template) -> dict[Code, tuple[FunctionDeclaration, ...]]:
    found: dict[Code, list[FunctionDeclaration]] = defaultdict(list)
    for function, code in template.functions:
        found[code].append(function)
    return {code: tuple(functions) for code, functions in found.items()}


def _packed(
    code: Code, manifest: Manifest, work: Path, tell: Tell, leave_out: frozenset[Path]
) -> Package:
    left_out = frozenset(each.resolve() for each in leave_out)
    try:
        with reading(code.path):
            files = code.files(work, tell, left_out)
    except PackageError as error:
        raise PackingError(f"{code.path}: {error}") from None
    if not files:
        raise PackingError(f"{code.path} has no files")
    return pack(code.path, files, manifest, work / "package.zip")
