"""Availability: which runtimes this host has, and what is missing for the others."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from storage.configuration import PYTHON
from workers.errors import RuntimeMissing
from workers.runtimes import clients
from workers.runtimes.interpreter import answer, on_path
from workers.runtimes.java import VERSIONS, javas
from workers.runtimes.nodejs import OURS, Nodejs, nodes
from workers.runtimes.python import MINORS, Python


@dataclass(frozen=True, slots=True)
class Availability:
    """One runtime, or several that are run alike, as this host has it."""

    #: AWS's names, or a pattern of them where none can be run.
    runtime: str
    interpreter: str = ""
    client: str = ""
    #: Why it cannot be run, and how to get what is missing; empty: it can.
    missing: str = ""


def availabilities() -> list[Availability]:
    """Every runtime, as found on this process's PATH and in JAVA_HOME."""
    return [*_pythons(), *_nodejs(), *_java(), _provided()]


def _pythons() -> Iterator[Availability]:
    own = f"{sys.executable} {platform.python_version()}"
    yield Availability(PYTHON, own, f"awslambdaric {version('awslambdaric')}")
    others = (f"python3.{minor}" for minor in MINORS)
    for name in (each for each in others if each != PYTHON):
        for program in on_path(name):
            try:
                told = answer(program, "--version").removeprefix("Python ")
            except (OSError, subprocess.SubprocessError):
                continue  # something of that name that does not run
            yield _python(name, f"{program} {told}")


def _python(name: str, interpreter: str) -> Availability:
    try:
        Python(name).paths()
    except RuntimeMissing as error:
        return Availability(name, interpreter, missing=str(error))
    return Availability(name, interpreter, "awslambdaric")


def _nodejs() -> Iterator[Availability]:
    found = nodes()
    for program, told in found.items():
        name = f"nodejs{told.removeprefix('v').partition('.')[0]}.x"
        client = "Bucketwheel's" if OURS in Nodejs(name).paths() else clients.NODEJS
        yield Availability(name, f"{program} {told}", client)
    if not found:
        yield Availability("nodejs*", missing="Node.js is not on PATH: install it, as node")


def _java() -> Iterator[Availability]:
    newest = max(javas().items(), key=lambda each: each[1], default=None)
    if newest is None:
        yield Availability("java*", missing="Java is neither on PATH nor in JAVA_HOME: install it")
        return
    names = ", ".join(name for least, name in VERSIONS.items() if least <= newest[1])
    lacking = "" if clients.has_java() else "bucketwheel runtimes install java"
    yield Availability(names, " ".join(map(str, newest)), clients.JARS[0].name, lacking)


def _provided() -> Availability:
    system = f"{platform.system()} {platform.machine()}"
    return Availability("provided, provided.al2, provided.al2023", system, "the function's own")
