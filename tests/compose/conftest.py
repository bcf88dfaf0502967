"""One Docker daemon and one system in containers for all of these tests: `make test-compose`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose import stand_ins
from tests.compose.daemon import Docker
from tests.compose.daemon import docker as found_docker
from tests.compose.project import Project


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A daemon with all base images."""
    with found_docker() as found:
        stand_ins.provide(found)
        yield found


@pytest.fixture(scope="session")
def project(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A system that is up, with passwords of its own."""
    project = Project(docker, tmp_path_factory.mktemp("project"))
    done = project.write_env()
    assert done.returncode == 0, done.stderr
    try:
        project.up()
        yield project
    finally:
        project.tried("--profile", "examples", "down", "--volumes", "--remove-orphans")
