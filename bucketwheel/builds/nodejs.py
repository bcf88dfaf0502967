"""Node.js: what package.json asks for, installed by npm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from bucketwheel.builds.tool import Tell, Tool, copied
from bucketwheel.errors import BuildError

_NPM: Final = Tool("npm", "Node.js, which brings it: https://nodejs.org")


def build(folder: Path, work: Path, tell: Tell, runtime: str) -> list[Path]:
    """The code, with its dependencies beside it unless they are there already.

    Raises:
        BuildError: npm is missing or failed, or package.json is none.
    """
    if not _has_dependencies(folder / "package.json") or (folder / "node_modules").exists():
        return [folder]
    tell(f"installing {folder / 'package.json'}")
    copy = copied(folder, work)
    arguments = ["install", "--omit=dev", "--no-audit", "--no-fund"]
    _NPM.run(arguments, copy, tell, f"{folder / 'package.json'} cannot be installed")
    return [copy]


def _has_dependencies(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise BuildError(f"{file} is no JSON: {error}") from None
    return isinstance(found, dict) and bool(found.get("dependencies"))
