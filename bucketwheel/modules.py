"""Python modules of a folder that declare functions, as their text tells; none is imported."""

from __future__ import annotations

import ast
import keyword
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bucketwheel.errors import PackingError

#: Modules that are in every function's process, besides Python's own.
_TAKEN: Final = frozenset(("__main__", "awslambdaric", "bucketwheel", "runtime_client"))


def declaring(files: dict[str, Path]) -> list[str]:
    """Modules and packages at the top that take the decorator, of files by their names.

    A script that only calls functions must not be imported.
    """
    return sorted(
        module
        for module, path in _at_the_top(files)
        if (tree := _tree(path)) is None or any(_names_decorator(each) for each in ast.walk(tree))
    )


def layers(files: dict[str, Path], modules: list[str]) -> tuple[str, ...]:
    """Layers that decorators name in these modules, where they are written out as texts.

    Deployment needs them to import the code, and only the imported code could tell them.
    """
    found: dict[str, None] = {}
    for module, path in _at_the_top(files):
        tree = _tree(path) if module in modules else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.FunctionDef):
                found |= dict.fromkeys(_named_layers(node))
    return tuple(found)


def check_module(name: str, source: Path) -> None:
    """Refuse what cannot be imported, or would hide another module.

    Raises:
        PackingError: the name is no module's, or taken.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise PackingError(f"{source}: {name!r} cannot be imported as a module: rename it")
    if name in sys.stdlib_module_names or name in _TAKEN:
        raise PackingError(
            f"{source}: {name!r} is also a module that functions run with: rename it, so that"
            " neither hides the other"
        )


def _at_the_top(files: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, path in files.items():
        module, _, rest = name.removesuffix(".py").partition("/")
        if name.endswith(".py") and rest in ("", "__init__"):
            yield module, path


def _tree(path: Path) -> ast.AST | None:
    """What the text means; None if it has a fault, of which deployment will say where and why."""
    content = path.read_bytes()
    if b"bucketwheel" not in content:
        return ast.Module([], [])
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return None


def _names_decorator(node: ast.AST) -> bool:
    """`from bucketwheel import function`, or `bucketwheel.function`, under whatever name."""
    if isinstance(node, ast.ImportFrom):
        ours = node.level == 0 and (node.module or "").split(".")[0] == "bucketwheel"
        return ours and any(each.name in ("function", "*") for each in node.names)
    return isinstance(node, ast.Attribute) and node.attr == "function"


def _named_layers(decorated: ast.FunctionDef) -> Iterator[str]:
    """The texts in `@function(layers=...)`."""
    for call in decorated.decorator_list:
        for argument in call.keywords if isinstance(call, ast.Call) else ():
            if argument.arg == "layers":
                yield from _texts(argument.value)


def _texts(value: ast.expr) -> Iterator[str]:
    for each in value.elts if isinstance(value, ast.Tuple | ast.List) else [value]:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
