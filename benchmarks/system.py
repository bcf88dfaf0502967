"""A whole system for measuring: `bucketwheel up` in a folder of its own, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import psutil
from botocore.config import Config
from redis import Redis

from broker import keys

#: Seconds for a command of ours to end, and for a backlog to be worked off.
PATIENCE: Final = 180.0

FUNCTIONS: Final = Path(__file__).parent / "functions"


@dataclass(frozen=True, slots=True)
class System:
    """A running system, and ways to look into it."""

    data: Path
    redis_url: str
    redis: Redis
    #: What AWS's tools need to reach it.
    variables: dict[str, str]

    def s3(self) -> Any:
        """A client with the user's rights; one per thread."""
        return s3(self.variables)

    def deploy(self, source: Path) -> None:
        """Deploy as a user does."""
        _run(self.data, "deploy", str(source))

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
        pid = json.loads((self.data / "instance.json").read_text())["children"]["intake"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


def s3(variables: dict[str, str]) -> Any:
    """The client of all benchmarks; of plain strings, so that processes can be handed these."""
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_REGION"],
        config=Config(max_pool_connections=16, retries={"max_attempts": 2}),
    )


@contextmanager
def system(data: Path, **settings: str) -> Iterator[System]:
    """Bring a system up, and down again whatever happens; settings by their variables' names."""
    ports = {f"BUCKETWHEEL_{name}_PORT": "0" for name in ("S3", "CONSOLE", "REDIS", "FLOWER")}
    try:
        _run(data, "up", "--detach", **ports, **settings)
        url = json.loads((data / "instance.json").read_text())["redis_url"]
        yield System(data, url, Redis.from_url(url, socket_timeout=10), _variables(data))
    except Exception as error:
        error.add_note(f"the system's logs: {_kept_logs(data)}")
        raise
    finally:
        with undisturbed():
            _end(data)
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put signals off while something is cleaned up: a second Ctrl-C must not leave processes."""
    ours = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _end(data: Path) -> None:
    """`down`; and if that does not help, the end of every process of this system."""
    lock = data / "up.lock"
    pid = lock.read_text().strip() if lock.is_file() else ""
    ours = psutil.Process(int(pid)).children(recursive=True) if _runs(pid) else []
    try:
        _run(data, "down")
    finally:
        for process in ours:
            if process.is_running():  # psutil compares start times: a reused id is another process
                process.kill()


def _kept_logs(data: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="bucketwheel-bench-logs-"))
    shutil.copytree(data / "logs", kept, dirs_exist_ok=True)
    return kept


def _runs(pid: str) -> bool:
    return pid.isdigit() and psutil.pid_exists(int(pid))


def _variables(data: Path) -> dict[str, str]:
    """What `bucketwheel env` prints, as a shell would read it."""
    lines = _run(data, "env").splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
    return {name: value.strip("'") for name, value in pairs}


def _run(data: Path, *arguments: str, **variables: str) -> str:
    """Run a command of ours; in a session of its own, out of a terminal's Ctrl-C."""
    done = subprocess.run(
        [sys.executable, "-m", "bucketwheel", *arguments],
        env={**os.environ, "BUCKETWHEEL_DATA": str(data), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"bucketwheel {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout
