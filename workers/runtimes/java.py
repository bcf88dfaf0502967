"""Java: a JDK or JRE of this host, with AWS's client.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-java.html
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile, ZipFile

from storage.configuration import FunctionConfiguration
from storage.errors import PackageError
from workers.errors import RuntimeMissing
from workers.runtimes import clients
from workers.runtimes.interpreter import answer, on_path
from workers.sandbox import Sandbox

#: Lambda's names by the version of Java that they ask for.
VERSIONS: Final = {8: "java8.al2", 11: "java11", 17: "java17", 21: "java21", 25: "java25"}
_MAIN: Final = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
#: Lambda's own, each with what a function says in JAVA_TOOL_OPTIONS to have another.
_OPTIONS: Final = (
    ("-Xmx{heap}m", r"-Xmx|MaxHeapSize|MaxRAMPercentage"),
    ("-XX:+UseSerialGC", r"-XX:\+Use\w+GC"),
    ("-XX:TieredStopAtLevel=1", r"Tiered"),
    ("-Xshare:auto", r"-Xshare"),
    ("-XX:-UsePerfData", r"UsePerfData"),  # no file in /tmp for every start
)


@dataclass(frozen=True, slots=True)
class Java:
    """`javaNN`, which any Java of that version or a later one runs."""

    name: str

    @property
    def least(self) -> int:
        """The version that its name asks for: `java17`, `java8.al2`."""
        return int(self.name.removeprefix("java").partition(".")[0])

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """Java, the client, and the handler's class, unless a layer may have it."""
        self.paths()
        if not clients.has_java():
            raise RuntimeMissing(
                f"{self.name} needs AWS's client for Java: bucketwheel runtimes install java"
            )
        name = configuration.handler.partition("::")[0]
        file = f"{name.replace('.', '/')}.class"
        if not configuration.layers and not _has_class(task_root, file):
            raise PackageError(
                f"the package has no class {name!r}, neither as {file} nor in lib/*.jar, which the"
                f" handler {configuration.handler!r} names"
            )

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """A heap of 85 % of the function's memory, as Lambda has it, and a quick start."""
        configuration, root = sandbox.spec.configuration, sandbox.task_root
        theirs = configuration.environment.get("JAVA_TOOL_OPTIONS", "")
        heap = configuration.memory * 85 // 100
        options = [each.format(heap=heap) for each, word in _OPTIONS if not re.search(word, theirs)]
        own = (root, f"{root}/lib/*", f"{sandbox.opt}/java/lib/*")
        path = ":".join([*own, *map(str, clients.java_client())])
        program, handler = str(self._home() / "bin" / "java"), configuration.handler
        temporary = f"-Djava.io.tmpdir={sandbox.tmp}"
        return (program, *options, temporary, "-cp", path, _MAIN, handler)

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Which runtime it is."""
        return {"AWS_EXECUTION_ENV": f"AWS_Lambda_{self.name}"}

    def paths(self) -> tuple[Path, ...]:
        """Java's home, what its settings link to outside of it, and the client."""
        home = self._home()
        return (home, *sorted(_linked(home)), clients.FOLDER / "java")

    def _home(self) -> Path:
        found = javas()
        for program, version in found.items():
            if version >= self.least:
                return program.parents[1]
        there = f"; there is {', '.join(map(str, found.values()))}" if found else ""
        raise RuntimeMissing(
            f"{self.name} needs Java {self.least} or newer, as java on the worker's PATH or in"
            f" JAVA_HOME{there}"
        )


def javas() -> dict[Path, int]:
    """Java in JAVA_HOME and on PATH: major version by program."""
    found: dict[Path, int] = {}
    home = os.environ.get("JAVA_HOME")
    for program in on_path(*([f"{home}/bin/java"] if home else []), "java"):
        try:
            said = re.search(r'version "(?:1\.)?(\d+)', answer(program, "-version"))
        except (OSError, subprocess.SubprocessError):
            continue  # something of that name that does not run
        if said:
            found[program.resolve()] = int(said[1])
    return found


def _linked(home: Path) -> set[Path]:
    """Folders outside of Java's home that its settings are links to: a distribution's, in /etc."""
    files = [each for folder in ("conf", "lib/security") for each in (home / folder).rglob("*")]
    return {each.resolve().parent for each in files if each.is_symlink()}


def _has_class(task_root: Path, file: str) -> bool:
    if (task_root / file).is_file():
        return True
    return any(file in _names(jar) for jar in sorted((task_root / "lib").glob("*.jar")))


def _names(jar: Path) -> frozenset[str]:
    try:
        with ZipFile(jar) as archive:
            return frozenset(archive.namelist())
    except BadZipFile:
        raise PackageError(f"lib/{jar.name} in the package is no jar: build it again") from None
