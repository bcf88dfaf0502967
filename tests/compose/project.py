"""A system in containers, brought up from a clean copy of the source as its README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any

from redis import Redis

from bucketwheel import ports
from bucketwheel.testing import s3
from tests.compose.daemon import Docker
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
_PORTS = ("S3_PORT", "CONSOLE_PORT", "REDIS_PORT", "FLOWER_PORT")


class Project:
    """One copy, and commands in it."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker, self.folder = docker, folder
        self.name = f"bw{uuid.uuid4().hex[:8]}"
        _copy_source(folder)

    def write_env(self) -> subprocess.CompletedProcess[str]:
        """Run scripts/compose-env, with free ports."""
        chosen = ports.choose(dict.fromkeys(_PORTS, 0))
        own = {f"BUCKETWHEEL_{name}": str(port) for name, port in chosen.items()}
        return subprocess.run(
            ["scripts/compose-env"],
            cwd=self.folder,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
        )

    @cached_property
    def variables(self) -> dict[str, str]:
        """What .env says, as a shell reads it."""
        command = ["sh", "-ec", "set -a; . ./.env; set +a; env -0"]
        output = subprocess.check_output(command, cwd=self.folder, text=True, env={})
        return dict(line.split("=", 1) for line in output.split("\0") if line)

    def tried(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose ...`, whatever comes of it."""
        command = ("compose", "--project-name", self.name, *arguments)
        environment = {**self.docker.environment, **variables}
        return self.docker.tried(*command, cwd=self.folder, env=environment)

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run `docker compose ...`; returns its standard output."""
        done = self.tried(*arguments, **variables)
        assert done.returncode == 0, (
            f"docker compose {' '.join(arguments)}:\n{done.stdout[-4_000:]}{done.stderr[-4_000:]}\n"
            + self.tried("logs", "--no-color", "--tail", "30").stdout[-8_000:]
        )
        return done.stdout

    def up(self, *arguments: str, **variables: str) -> None:
        """As the README says."""
        self.compose("up", "--detach", "--build", "--wait", *arguments, **variables)

    def asked(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this machine's `bucketwheel` by what .env says, whatever comes of it."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "bucketwheel", *arguments],
            env={"PATH": os.environ["PATH"], **self.variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def bucketwheel(self, *arguments: str) -> str:
        """Run this machine's `bucketwheel`; returns its standard output."""
        done = self.asked(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def deploy(self, text: str) -> None:
        """Deploy a module's text from this machine."""
        path = self.folder / f"m{uuid.uuid4().hex[:8]}.py"
        path.write_text("from bucketwheel import function\n" + textwrap.dedent(text))
        self.bucketwheel("deploy", str(path))

    def status(self, function: str) -> dict[str, Any]:
        """A function's numbers."""
        found = self._told()["functions"]
        return next((each for each in found if each["function"] == function), {})

    def hosts(self) -> list[dict[str, Any]]:
        """What each worker tells of its host, once it is at work."""
        found: list[dict[str, Any]] = self._told()["hosts"]
        return found

    def _told(self) -> Any:
        """What `bucketwheel status` tells programs."""
        return json.loads(self.bucketwheel("status", "--json"))

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What Docker says of the containers."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(self.docker.run("inspect", *ids)) if ids else []
        return found

    def s3(self) -> Any:
        """A boto3 client with a person's rights."""
        return s3(self.variables)

    def redis(self) -> Redis:
        """A client of its Redis."""
        return Redis.from_url(self.variables["BUCKETWHEEL_REDIS_URL"])

    def keys(self, bucket: str, prefix: str) -> set[str]:
        """Names of the objects there, without the prefix."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {
            each["Key"].removeprefix(prefix) for page in pages for each in page.get("Contents", [])
        }

    def wait_for_keys(self, bucket: str, prefix: str, wanted: set[str]) -> None:
        """Wait until these objects are there."""
        wait_until(
            lambda: wanted <= self.keys(bucket, prefix), f"{len(wanted)} objects in {prefix}", 180
        )


def _copy_source(folder: Path) -> None:
    """What a clone would have."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in found.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
