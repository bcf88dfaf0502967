"""The `bucketwheel` commands, as a user would type them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from demo.errors import CommandFailed

#: Where commands run, so that paths read as they do in the documentation.
ROOT: Final = Path(__file__).resolve().parent.parent

#: Seconds that a command may take; starting MinIO on a busy machine is the slowest.
PATIENCE: Final = 200.0

#: `tell(command, seconds)` is called after each command.
Tell = Callable[[str, float], None]


class Commands:
    """Runs commands on the system of one folder, on free ports."""

    def __init__(self, data: Path, tell: Tell) -> None:
        self.data = data
        self._tell = tell

    def run(self, *arguments: str) -> str:
        """Run `bucketwheel`; returns what it printed.

        Raises:
            CommandFailed: it did, or took too long; the message ends with what it printed.
        """
        shown, began = " ".join(("bucketwheel", *arguments)), time.monotonic()
        process = self._start(arguments)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            _interrupt(process)
            raise CommandFailed(f"{shown} takes longer than {PATIENCE:g} s") from None
        except BaseException:
            _interrupt(process)
            raise
        if process.returncode != 0:
            raise CommandFailed(f"{shown} failed:\n{output.rstrip()}")
        self._tell(shown, time.monotonic() - began)
        return output

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # -P: what lies in the current folder must not hide what is installed.
            [sys.executable, "-P", "-m", "bucketwheel", *arguments],
            cwd=ROOT,
            env=_environment(self.data),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which passes it on
        )


def _interrupt(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: `up` then stops what it has started."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)


def _environment(data: Path) -> dict[str, str]:
    """Settings of whoever runs the demo are for another system, but for where MinIO is."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BUCKETWHEEL_", "AWS_")) or name == "BUCKETWHEEL_MINIO"
    }
    ports = ("S3_PORT", "CONSOLE_PORT", "REDIS_PORT", "FLOWER_PORT")
    return found | {f"BUCKETWHEEL_{each}": "0" for each in ports} | {"BUCKETWHEEL_DATA": str(data)}
