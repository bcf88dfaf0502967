"""`up --detach`: the same process, in the background, waited for until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bucketwheel.child_log import ChildLog
from bucketwheel.errors import InstanceError, StartError
from bucketwheel.instance import Instance, holder

#: Seconds until it must be ready: both servers' and the parts' own limits together.
PATIENCE: Final = 180.0


def start_detached(data: Path) -> Instance:
    """Start `bucketwheel up` in a session of its own; returns when everything runs.

    Raises:
        InstanceError: a system runs on this folder already.
        StartError: it did not start; the message is its own.
    """
    pid = holder(data)
    if pid is not None:
        raise InstanceError(
            f"a system already runs on {data} (process {pid}): `bucketwheel down` stops it"
        )
    log = _log(data)
    output = log.open()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bucketwheel", "up"],
            env={**os.environ, "BUCKETWHEEL_DATA": str(data)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)
    return _wait(process, data, log)


def _log(data: Path) -> ChildLog:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartError(f"{data} cannot be used for data: {error.strerror}") from None
    log = ChildLog(data / "logs", "up")
    log.begin()
    return log


def _wait(process: subprocess.Popen[bytes], data: Path, log: ChildLog) -> Instance:
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            if process.poll() is not None:
                raise StartError(_last_words(log))
            found = _find(data)
            if found is not None and found.pid == process.pid and found.ready:
                return found
            time.sleep(0.05)
    except KeyboardInterrupt:
        process.terminate()
        raise
    process.terminate()
    raise StartError(f"not ready after {PATIENCE:g} s; its log is {log.path}")


def _find(data: Path) -> Instance | None:
    try:
        return Instance.read(data)
    except InstanceError:
        return None


def _last_words(log: ChildLog) -> str:
    lines = log.tail(10)
    return "\n".join(lines).removeprefix("bucketwheel: ") or f"ended at once; see {log.path}"
