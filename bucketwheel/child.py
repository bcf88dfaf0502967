"""A child: a process of its own session, which ends with us whatever ends us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bucketwheel.child_log import ChildLog
from bucketwheel.errors import StartError
from workers.process import kill_tree

_PR_SET_PDEATHSIG: Final = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl

#: Back-off between restarts, seconds; a child that lived for `STEADY` begins anew.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
STEADY: Final = 60.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How one child is started and stopped."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    #: Seconds to end by itself when it is asked to.
    patience: float = 10.0
    #: What it gets from the kernel when we are gone without a word.
    orphaned: signal.Signals = signal.SIGKILL
    #: Text in the variables of processes that belong to it, and may have left its session.
    mark: str = ""


class Child:
    """Starts, watches, ends one process. Main thread only: the kernel ties it to the thread."""

    def __init__(self, spec: ChildSpec, logs: Path, folder: Path) -> None:
        self.spec = spec
        self.log = ChildLog(logs, spec.name)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = FIRST_PAUSE
        #: Monotonic moment of the next start, while it is down.
        self.due: float | None = None

    @property
    def name(self) -> str:
        """What it is called in messages and files."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """Process id, while it has one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process.

        Raises:
            StartError: its program cannot be run.
        """
        output = self.log.open()
        try:
            self._process = subprocess.Popen(
                self.spec.command,
                cwd=self._folder,
                env=dict(self.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_tied_to_us(self.spec.orphaned),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartError(f"{self.spec.command[0]} cannot be run: {error}") from None
        finally:
            os.close(output)
        self._started, self.due = time.monotonic(), None

    def has_ended(self) -> str:
        """How it ended, once it has, in words; else nothing."""
        if self._process is None or (status := self._process.poll()) is None:
            return ""
        self._sweep()
        self._process = None
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with exit status {status}"

    def postpone(self) -> float:
        """Set the time of the next start; returns the pause, which grows with each failure."""
        if time.monotonic() - self._started > STEADY:
            self._pause = FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self.due = time.monotonic() + pause
        return pause

    def stop(self, hurried: Callable[[], bool]) -> bool:
        """End it: asked first, killed when its patience is over or `hurried`.

        Returns whether it ended by itself.
        """
        process, self.due = self._process, None
        if process is None:
            return True
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + self.spec.patience
        while process.poll() is None and time.monotonic() < end and not hurried():
            _wait(process, 0.1)
        willing = process.poll() is not None
        if not willing:
            kill_tree(process.pid, self.spec.mark)
            process.wait()
        self._sweep()
        self._process = None
        return willing

    def kill(self) -> None:
        """End it at once."""
        self.stop(lambda: True)

    def _sweep(self) -> None:
        """End what it has left in its session or elsewhere."""
        if self._process is not None:
            kill_tree(self._process.pid, self.spec.mark)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def _tied_to_us(orphaned: signal.Signals) -> Callable[[], None]:
    """What the new process does first: have the kernel end it when we are gone. prctl(2)."""
    parent = os.getpid()

    def tie() -> None:
        _prctl(_PR_SET_PDEATHSIG, int(orphaned), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie
