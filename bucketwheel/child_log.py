"""The log of one child: a file that never grows past a bound, and one older."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

#: Bytes after which the log is moved aside.
BOUND: Final = 10 * 1024 * 1024
_TAIL: Final = 16 * 1024


class ChildLog:
    """`<name>.log` and `<name>.log.1`; the child itself writes the first."""

    def __init__(self, folder: Path, name: str, bound: int = BOUND) -> None:
        self.path = folder / f"{name}.log"
        self._older = folder / f"{name}.log.1"
        self._bound = bound

    def begin(self) -> None:
        """Move what an earlier run wrote aside."""
        if self.path.exists():
            os.replace(self.path, self._older)

    def open(self) -> int:
        """A descriptor that appends; only its owner can read the file."""
        return _open(self.path, os.O_APPEND)

    def bound(self) -> None:
        """Move it aside once it is too large.

        Copied and emptied, since the child holds the file open; what it writes in between the two
        is lost.
        """
        if self.path.exists() and self.path.stat().st_size > self._bound:
            with self.path.open("rb") as file, open(_open(self._older, os.O_TRUNC), "wb") as older:
                file.seek(-self._bound, os.SEEK_END)
                shutil.copyfileobj(file, older)
            os.truncate(self.path, 0)

    def tail(self, lines: int = 5) -> list[str]:
        """The last lines that are not empty."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line.rstrip()[:500] for line in text.splitlines() if line.strip()][-lines:]


def _open(path: Path, flag: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, 0o600)
