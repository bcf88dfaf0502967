"""Builds: one file for each kind, chosen by the runtime's name, as `sam build` does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucketwheel.builds import go, java, makefile, nodejs, python
from bucketwheel.builds.tool import Tell
from bucketwheel.content import walked
from workers.packages import unpack

Build = Callable[[Path, Path, Tell, str], list[Path]]

#: By the runtime's name without its version.
_KINDS: Final[Mapping[str, Build]] = {
    "python": python.build,
    "nodejs": nodejs.build,
    "java": java.build,
    "provided": go.build,
}
#: Where a layer keeps what is built for a runtime: what the runtime looks for below /opt.
_OPT: Final = {"python": "python/", "nodejs": "nodejs/"}
#: The file that code written in a template becomes.
_INLINE: Final = {"python": "index.py", "nodejs": "index.js"}


@dataclass(frozen=True, slots=True)
class Code:
    """What becomes a package: a folder, a .zip or .jar, or a text of a template's."""

    path: Path
    #: What it is built for; empty: nothing is built.
    runtime: str = ""
    #: Logical id whose target a Makefile has; empty: no Makefile is asked.
    target: str = ""
    inline: str | None = None
    is_layer: bool = False

    def files(
        self, work: Path, tell: Tell, leave_out: frozenset[Path] = frozenset()
    ) -> dict[str, Path]:
        """Build it in the folder `work`; the files of the package by their names in it.

        Raises:
            BuildError: a build tool is missing or failed.
            PackingError: a file cannot be packed.
            PackageError: it is an archive that cannot be unpacked.
        """
        kind = family(self.runtime)
        found: dict[str, Path] = {}
        for folder in self._build(kind, work, tell):
            found |= walked(folder, leave_out)
        inner = _OPT.get(kind, "") if self.is_layer and not self.target else ""
        return {f"{inner}{name}": path for name, path in found.items()}

    def _build(self, kind: str, work: Path, tell: Tell) -> list[Path]:
        if self.inline is not None:
            return [_written(self.inline, work / "inline" / _INLINE[kind])]
        if self.path.is_file():
            return [_unpacked(self.path, work / "unpacked")]
        if self.target:
            return makefile.build(self.path, work, tell, self.target)
        if not kind:
            return [self.path]
        return _KINDS[kind](self.path, work, tell, self.runtime)


def family(runtime: str) -> str:
    """A runtime's name without its version: `python` of `python3.11`."""
    found = re.match(r"[a-z]*", runtime)
    return found[0] if found else ""


def _written(text: str, file: Path) -> Path:
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    return file.parent


def _unpacked(archive: Path, folder: Path) -> Path:
    """As Lambda does: the classes of a jar lie at the root of the package."""
    folder.mkdir()
    unpack(archive, folder)
    return folder
