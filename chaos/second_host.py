"""A second host: an intake and a worker of its own, restarted when they end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bucketwheel.testing import System, undisturbed
from chaos.clock import Clock
from workers.process import kill_tree

NAME: Final = "second"
#: Seconds until a part that has ended is started again, and for one to end by itself.
PAUSE: Final = 0.5
PATIENCE: Final = 20.0

_ROOT: Final = Path(__file__).parent.parent


class SecondHost:
    """Its processes as they are now, and its clock."""

    def __init__(self, system: System, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._variables = _variables(system, folder, settings)
        self._clock = folder / "clock"
        self.clock = Clock.make(self._clock)
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(part,)) for part in ("intake", "worker")
        ]

    def pid(self, part: str) -> int | None:
        """A part's process id, while it lives."""
        process = self._parts.get(part)
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start both parts."""
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """End both parts, and all that they have begun."""
        self._ending.set()
        for process in list(self._parts.values()):
            process.terminate()
        for each in self._threads:
            each.join(2 * PATIENCE)

    def _keep(self, part: str) -> None:
        """Start it again whenever it ends."""
        while not self._ending.is_set():
            process = self._begin(part)
            self._parts[part] = process
            while process.poll() is None and not self._ending.wait(0.05):
                pass
            if self._ending.is_set():
                _end(process, f"TMPDIR={self._folder}/tmp/")
            kill_tree(process.pid, f"TMPDIR={self._folder}/tmp/" if part == "worker" else "")
            self._ending.wait(PAUSE)

    def _begin(self, part: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{part}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "chaos.clock", str(self._clock), part],
                env=self._variables,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid, mark)
        process.wait()


@contextmanager
def second_host(system: System, folder: Path, settings: dict[str, str]) -> Iterator[SecondHost]:
    """Have one for as long as this lasts."""
    folder.mkdir()
    host = SecondHost(system, folder, settings)
    host.start()
    try:
        yield host
    finally:
        with undisturbed():
            host.stop()


def _variables(system: System, folder: Path, settings: dict[str, str]) -> dict[str, str]:
    own = {
        "BUCKETWHEEL_DATA": str(folder),
        "BUCKETWHEEL_WORKER_NAME": NAME,
        "BUCKETWHEEL_DRAIN_TIMEOUT": "5",
        **settings,
    }
    return {**os.environ, **system.instance.settings(), **own}
