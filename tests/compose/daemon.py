"""Docker: the daemon that runs here, or one of our own with a data folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import absent, wait_until

#: What is kept between runs: images and layers, but no containers.
KEPT = Path(__file__).parents[2] / ".tools" / "docker"


class Docker:
    """Commands to one daemon."""

    def __init__(self, host: str = "") -> None:
        self.environment = dict(os.environ)
        if host:
            self.environment["DOCKER_HOST"] = host
        if (KEPT / "cli-plugins").is_dir():
            self.environment["DOCKER_CONFIG"] = str(KEPT)

    def tried(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `docker ...`, whatever comes of it."""
        command = ["docker", *arguments]
        pipes = {"capture_output": True, "text": True, "env": self.environment}
        return subprocess.run(command, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]

    def run(self, *arguments: str, **options: object) -> str:
        """Run `docker ...`; returns its standard output."""
        done = self.tried(*arguments, **options)
        assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        """Whether there is a daemon."""
        return self.tried("info").returncode == 0


@contextmanager
def docker() -> Iterator[Docker]:
    """The daemon that answers already, or one that is started and stopped."""
    if shutil.which("docker") is None:
        absent(
            "the tests of docker-compose.yml need Docker: make test-compose installs it for root"
        )
    found = Docker()
    if found.tried("compose", "version").returncode:
        absent("Docker has no Compose: make test-compose builds it where Go is")
    if found.answers():
        yield found
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        absent("no Docker daemon answers, and only root with dockerd can start one")
    with _started() as host:
        yield Docker(host)


def _tidy(docker: Docker) -> None:
    """Remove what a run that was killed has left."""
    containers = docker.run("ps", "--all", "--quiet").split()
    if containers:
        docker.run("rm", "--force", "--volumes", *containers)
    docker.run("network", "prune", "--force")
    docker.run("volume", "prune", "--force")


@contextmanager
def _started() -> Iterator[str]:
    """A daemon of our own; its address."""
    folder = Path(tempfile.mkdtemp(prefix="bw-docker-"))  # short: sockets lie in it
    host = f"unix://{folder}/sock"
    log = (folder / "log").open("wb")
    # It ends with these tests, however they end: the next ones need its data folder.
    command = ["setpriv", "--pdeathsig", "TERM"]
    command += ["dockerd", f"--host={host}", f"--data-root={KEPT / 'data'}"]
    command += [f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "--log-level=warn"]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(
            lambda: process.poll() is not None or Docker(host).answers(), "the daemon answers"
        )
        if process.poll() is not None:
            absent(f"dockerd does not start: {(folder / 'log').read_text()[-2_000:]}")
        _tidy(Docker(host))
        yield host
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
