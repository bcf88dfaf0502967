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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

#: Seconds for a command to end; a first build in Go or Java on a busy machine is the slowest.
PATIENCE: Final = 600.0

_FREE: Final = {f"BUCKETWHEEL_{name}_PORT": "0" for name in ("S3", "CONSOLE", "REDIS", "FLOWER")}

#: `tell(command, seconds)` is called after each command.
Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class System:
    """A running system, and ways to use it."""

    data: Path
    tell: Tell = lambda command, seconds: None

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
        lines = self.tried("env").stdout.splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: value.strip("'") for name, value in pairs}

    def s3(self) -> Any:
        """A boto3 client with the user's rights; one per thread."""
        return s3(self.variables)

    def run(self, *arguments: str, **variables: str) -> str:
        """Run a command of `bucketwheel`; returns its standard output.

        Raises:
            StartError: it failed; the message is its own.
        """
        began = time.monotonic()
        done = self.tried(*arguments, **variables)
        shown = " ".join(("bucketwheel", *arguments))
        if done.returncode:
            raise StartError(f"{shown} failed:\n{(done.stderr or done.stdout).rstrip()}")
        self.tell(shown, time.monotonic() - began)
        return done.stdout

    def tried(
        self, *arguments: str, input: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `bucketwheel`, whatever comes of it.

        Settings of whoever runs this are for another system, but for where MinIO's program is.
        """
        process = subprocess.Popen(
            # -P: what lies in the current folder must not hide what is installed.
            [sys.executable, "-P", "-m", "bucketwheel", *arguments],
            env={**_environment(), "BUCKETWHEEL_DATA": str(self.data), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for us, who pass it on
        )
        try:
            output, errors = process.communicate(input, PATIENCE)
        except BaseException:
            process.send_signal(signal.SIGINT)  # `up` then stops what it has started
            process.communicate(timeout=PATIENCE)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


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
def running(data: Path, tell: Tell = System.tell, /, **variables: str) -> Iterator[System]:
    """Bring a system up on free ports, and down again whatever happens.

    Settings are given by their variables' names.

    Raises:
        StartError: it does not start, or does not stop.
    """
    system = System(data, tell)
    try:
        system.run("up", "--detach", **{**_FREE, **variables})
        yield system
    finally:
        with undisturbed():
            _end(system)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put signals off while something is cleaned up: a second Ctrl-C must not leave processes."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [(each, signal.signal(each, signal.SIG_IGN)) for each in signals]
    try:
        yield
    finally:
        for each, handler in handlers:
            signal.signal(each, handler)


def _environment() -> dict[str, str]:
    foreign = ("BUCKETWHEEL_", "AWS_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) or name in ("BUCKETWHEEL_MINIO", "AWS_CA_BUNDLE")
    }


def _end(system: System) -> None:
    """`down`; and if that does not help, the end of every process of the system."""
    pid = holder(system.data)
    if pid is None:
        return
    try:
        ours = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:  # it has just ended by itself
        return
    try:
        system.run("down")
    finally:
        for process in ours:
            with suppress(psutil.NoSuchProcess):  # ended, or its id is another's by now
                process.kill()
