"""Folders on this host's disk that take work to make: each is made once, and is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

#: Fills an empty folder; what it needs meanwhile it may put beside it.
Fill = Callable[[Path], None]


class FolderCache:
    """Gives folders by name; calls from several threads are safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        #: What earlier workers left, and nobody has asked for yet.
        self._left = set(os.listdir(self._folder)) if self._folder.is_dir() else set()

    def path(self, name: str, fill: Fill) -> Path:
        """The folder of this name, filled now if there was none."""
        path = self._folder / name
        with self._locks[name]:
            self._left.discard(name)
            if not path.exists():
                self._make(path, fill)
        return path

    def _make(self, path: Path, fill: Fill) -> None:
        """Fill it beside the final place and rename: a folder that exists is whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as work:
            files = Path(work) / "files"
            files.mkdir()
            fill(files)
            os.rename(files, path)

    def keep_only(self, used: Iterable[str]) -> None:
        """Of what earlier workers left, remove all but these; again, it does nothing."""
        for name in self._left.difference(used):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._left.clear()
