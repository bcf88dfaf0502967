"""A whole system for measuring: `bucketwheel up` in a folder of its own, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from redis import Redis

from broker import keys


@dataclass(frozen=True, slots=True)
class System:
    """A running system, and ways to look into it."""

    data: Path
    redis: Redis
    environment: dict[str, str]

    def s3(self) -> Any:
        """A client with the user's rights; one per thread."""
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_REGION"],
            config=Config(max_pool_connections=16, retries={"max_attempts": 2}),
        )

    def deploy(self, source: Path) -> None:
        """Deploy as a user does."""
        _run(self.data, "deploy", str(source))

    def succeeded(self, function: str) -> int:
        """Invocations of a function that have succeeded since the start."""
        counted: Any = self.redis.hget(keys.counters(function), "succeeded")
        return int(counted or 0)

    def wait_for(self, function: str, count: int, deadline: float = 600.0) -> None:
        """Wait until that many invocations have succeeded."""
        end = time.monotonic() + deadline
        while self.succeeded(function) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.succeeded(function)} of {count} {function} after {deadline} s")
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


@contextmanager
def system(data: Path) -> Iterator[System]:
    """Bring a system up, and down again whatever happens."""
    ports = {f"BUCKETWHEEL_{name}_PORT": "0" for name in ("S3", "CONSOLE", "REDIS", "FLOWER")}
    os.environ.update(ports)
    _run(data, "up", "--detach")
    try:
        environment = _environment(data)
        instance = json.loads((data / "instance.json").read_text())
        yield System(data, Redis.from_url(instance["redis_url"]), environment)
    finally:
        _run(data, "down")


def _environment(data: Path) -> dict[str, str]:
    """What `bucketwheel env` prints, as a shell would read it."""
    lines = _run(data, "env").splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
    return {name: value.strip("'") for name, value in pairs}


def _run(data: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "bucketwheel", *arguments]
    environment = {**os.environ, "BUCKETWHEEL_DATA": str(data)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"bucketwheel {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout
