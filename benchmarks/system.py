"""A whole system for measuring: `bucketwheel up` in a folder of its own, on free ports."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker import keys
from bucketwheel import testing
from bucketwheel.testing import running, s3, undisturbed

__all__ = ["FUNCTIONS", "System", "s3", "system", "undisturbed"]

#: Seconds for a backlog to be worked off.
PATIENCE: Final = 180.0

FUNCTIONS: Final = Path(__file__).parent / "functions"


@dataclass(frozen=True)
class System(testing.System):
    """A running system, and ways to look into it."""

    def deploy(self, source: Path) -> None:
        """Deploy as a user does."""
        self.run("deploy", str(source))

    def count(self, function: str, counter: str = "succeeded") -> int:
        """One of a function's counters."""
        counted: Any = self.redis.hget(keys.counters(function), counter)
        return int(counted or 0)

    def wait_for(self, function: str, count: int, patience: float = PATIENCE) -> None:
        """Wait until that many invocations have succeeded since the start."""
        end = time.monotonic() + patience
        while (done := self.count(function)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{done} of {count} {function} after {patience:g} s")
            time.sleep(0.01)

    @contextmanager
    def paused_intake(self) -> Iterator[None]:
        """Hold events back, so that a backlog can be laid before the clock starts."""
        pid = self.instance.children["intake"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def system(data: Path, **settings: str) -> Iterator[System]:
    """Bring a system up, and down again whatever happens; settings by their variables' names.

    The logs of one that is left by an error are kept.
    """
    try:
        with running(data, **settings) as found:
            yield System(found.data)
    except Exception as error:
        error.add_note(f"the system's logs: {_kept_logs(data)}")
        raise
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _kept_logs(data: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="bucketwheel-bench-logs-"))
    if (data / "logs").is_dir():
        shutil.copytree(data / "logs", kept, dirs_exist_ok=True)
    return kept
