"""One system for all languages; each language's functions are built and deployed once.

Builds are quick after the first: npm, Go and Maven keep what they have fetched and built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bucketwheel.testing import System
from tests.conformance.language import LANGUAGES, OTHER_PYTHON, Language
from tests.conftest import absent
from tests.system.conftest import Call, begun, call
from workers.errors import RuntimeMissing
from workers.runtimes import clients, runtime
from workers.runtimes.nodejs import nodes

__all__ = ["Call", "call"]

_HOW = {"npm": "Node.js: https://nodejs.org", "go": "Go: https://go.dev/dl", "mvn": "Maven"}


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Path:
    """A folder for interpreters that few hosts have, and that can be fetched; kept between runs."""
    assert pytestconfig.cache is not None
    return Path(pytestconfig.cache.mkdir("interpreters"))


@pytest.fixture(scope="session")
def path(programs: Path) -> str:
    """PATH with Node.js 24, since AWS's client is for it, and with another Python.

    Where they cannot be had, what needs them says so.
    """
    bin = programs / "bin"
    bin.mkdir(exist_ok=True)
    if not any(version.startswith("v24.") for version in nodes().values()):
        _link(bin / "node24", _node24(programs / "node24"))
    places = [str(bin), str(_other_python(programs / OTHER_PYTHON).parent), os.environ["PATH"]]
    return os.pathsep.join(places)


def _link(link: Path, program: Path) -> None:
    link.unlink(missing_ok=True)
    if program.exists():
        link.symlink_to(program)


def _node24(folder: Path) -> Path:
    program = folder / "node_modules" / "node" / "bin" / "node"
    if not program.exists():
        _try("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "node@24")
    return program


def _other_python(folder: Path) -> Path:
    """A virtual environment, where that Python itself is here."""
    program = folder / "bin" / "python"
    if not program.exists() and _try(OTHER_PYTHON, "-m", "venv", str(folder)):
        install = (str(program), "-m", "pip", "install", "--quiet", "awslambdaric", "boto3")
        if not _try(*install):
            shutil.rmtree(folder)  # half of it would stay half
    return program


def _try(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, path: str) -> Iterator[System]:
    """`bucketwheel up` with these on PATH."""
    folder = tmp_path_factory.mktemp("conformance")
    with begun(folder, BUCKETWHEEL_RETRY_DELAY="0.1", PATH=path) as found:
        yield found


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest, system: System, path: str) -> Language:
    """A language whose functions are deployed."""
    found: Language = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        _check(found)
    arguments = [f"Name={found.name}", f"Runtime={found.runtime}"]
    parameters = [part for each in arguments for part in ("--parameter", each)]
    system.run("deploy", str(found.folder), *parameters)
    return found


def _check(language: Language) -> None:
    """Skip where this host lacks what its functions are built or run with."""
    if language.builder and shutil.which(language.builder) is None:
        absent(f"{language.builder} is not installed: install {_HOW[language.builder]}")
    try:
        runtime(language.runtime).paths()
    except RuntimeMissing as error:
        if language.runtime == OTHER_PYTHON:
            pytest.skip(str(error))  # a second Python is nothing that a host must have
        absent(str(error))
    if language.runtime.startswith("java") and not clients.has_java():
        absent("AWS's client for Java is not installed: bucketwheel runtimes install java")
    if language.name == "nodejs-aws" and not clients.has_nodejs():
        absent("AWS's client for Node.js is not installed: bucketwheel runtimes install nodejs")
