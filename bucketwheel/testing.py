"""A whole system for tests and measurements: `bucketwheel up` in a folder of its own.

    with running(tmp_path) as system:
        system.run("deploy", "app.py")
        system.s3().put_object(Bucket="photos", Key="in/a.jpg", Body=photo)

Only for tests: a program uses the system that runs already, by `bucketwheel.invoke`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import boto3
import psutil
from botocore.config import Config
from redis import Redis

from bucketwheel.errors import StartError
from bucketwheel.instance import Instance, holder

#: Seconds for a command to end.
PATIENCE: Final = 180.0

_FREE: Final = {f"BUCKETWHEEL_{name}_PORT": "0" for name in ("S3", "CONSOLE", "REDIS", "FLOWER")}


@dataclass(frozen=True)
class System:
    """A running system, and ways to use it."""

    data: Path

    @property
    def instance(self) -> Instance:
        """How it is reached, and which processes are its own, as of now."""
        return Instance.read(self.data)

    @cached_property
    def redis(self) -> Redis:
        """A client of its Redis."""
        return Redis.from_url(self.instance.redis_url, socket_timeout=10)

    @cached_property
    def variables(self) -> dict[str, str]:
        """What `bucketwheel env` prints, as a shell would read it."""
        pairs = (
            line.removeprefix("export ").split("=", 1) for line in self.run("env").splitlines()
        )
        return {name: value.strip("'") for name, value in pairs}

    def s3(self) -> Any:
        """A boto3 client with the user's rights; one per thread."""
        return s3(self.variables)

    def run(self, *arguments: str, **variables: str) -> str:
        """Run a command of `bucketwheel`; returns its standard output.

        Raises:
            StartError: it failed; the message is its own.
        """
        done = self.tried(*arguments, **variables)
        if done.returncode:
            raise StartError(f"bucketwheel {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def tried(
        self, *arguments: str, input: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `bucketwheel`, whatever comes of it."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "bucketwheel", *arguments],
            env={**os.environ, "BUCKETWHEEL_DATA": str(self.data), **variables},
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            start_new_session=True,  # out of reach of a terminal's Ctrl-C
            check=False,
        )


def s3(variables: dict[str, str]) -> Any:
    """A boto3 client by what `bucketwheel env` prints: plain texts, to be handed to processes."""
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_REGION"],
        config=Config(max_pool_connections=16, retries={"max_attempts": 2}),
    )


@contextmanager
def running(data: Path, **variables: str) -> Iterator[System]:
    """Bring a system up on free ports, and down again whatever happens.

    Settings are given by their variables' names.

    Raises:
        StartError: it does not start, or does not stop.
    """
    system = System(data)
    try:
        system.run("up", "--detach", **{**_FREE, **variables})
        yield system
    finally:
        with _undisturbed():
            _end(system)


def _end(system: System) -> None:
    """`down`; and if that does not help, the end of every process of the system."""
    pid = holder(system.data)
    if pid is None:
        return
    ours = psutil.Process(pid).children(recursive=True)
    try:
        system.run("down")
    finally:
        for process in ours:
            if process.is_running():  # psutil compares start times: a reused id is another process
                process.kill()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put signals off while something is cleaned up: a second Ctrl-C must not leave processes."""
    ours = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
