"""A child: one process of the system, restarted when it dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
#: Bytes of a log before it is moved aside; one older log is kept.
LOG_SIZE: Final = 10 * 1024 * 1024
#: Seconds to the first restart, and at most.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0

_libc = ctypes.CDLL(None)


@dataclass(slots=True)
class Child:
    """Start, watch, stop. It dies with us, whatever ends us."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    #: Seconds it has to end by itself after SIGTERM.
    grace: float = 10.0
    process: subprocess.Popen[bytes] | None = None
    _pause: float = FIRST_PAUSE
    _restart_at: float = 0.0
    _started: float = field(default=0.0)

    @property
    def pid(self) -> int:
        """Process id; 0 before it was started."""
        return self.process.pid if self.process else 0

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C in our terminal is not for it."""
        self._rotate()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._started = time.monotonic()
        self._restart_at = 0.0

    def run_once(self) -> str | None:
        """Look after it: restart it when it has died; returns what there is to say, if anything."""
        self._rotate()
        if self.process is None or self.process.poll() is None:
            return None
        now = time.monotonic()
        if self._restart_at:
            if now < self._restart_at:
                return None
            self.start()
            return f"{self.name} was started again (pid {self.pid})"
        if now - self._started > LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        self._restart_at = now + self._pause
        said = f"{self.name} {self._ending()}; it is started again in {self._pause:g} s"
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return f"{said}. Its log: {self.log}{self.last_lines()}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, hurry: bool = False) -> None:
        """Have it end: SIGTERM, then SIGKILL; stopping twice, or before start, is safe."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(1.0 if hurry else self.grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, indented, for a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4_096))
                lines = file.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return ""
        return "".join(f"\n    {line}" for line in lines)

    def _ending(self) -> str:
        assert self.process is not None
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _rotate(self) -> None:
        """Move a long log aside; whoever writes it appends, and goes on in the emptied file."""
        try:
            if self.log.stat().st_size <= LOG_SIZE:
                return
            self.log.with_suffix(".log.1").write_bytes(self.log.read_bytes())
            os.truncate(self.log, 0)
        except OSError:
            return


def _die_with_parent() -> None:
    """Runs in the child before exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
