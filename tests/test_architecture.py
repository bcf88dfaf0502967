"""The architecture: what no tool of the shelf checks."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: From the top down, as DESIGN has them.
FLOORS = ["bucketwheel", "gateway", "workers", "broker", "storage"]


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_redis_keys_are_made_in_one_place() -> None:
    """Whoever looks for the writers of a key finds them by its function's name."""
    made_elsewhere = [
        f"{path.relative_to(ROOT)}: {text!r}"
        for floor in FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
        if path != ROOT / "broker" / "keys.py"
        for text in _texts(path)
        if re.match(r"bucketwheel:\S", text)
    ]

    assert made_elsewhere == []


def test_the_floors_are_those_of_the_design() -> None:
    """Imports go down only; the linter is told each floor, whether it is there yet or not."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]

    assert [layer.strip("()") for layer in layers] == FLOORS
