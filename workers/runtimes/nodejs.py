"""Node.js: an interpreter on PATH, with AWS's client from Node.js 24 on, else with one of ours.

AWS's needs a native build, and has no callback handlers any more, as Node.js 24 has not in Lambda.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.configuration import FunctionConfiguration
from storage.errors import PackageError
from workers.errors import RuntimeMissing
from workers.runtimes import clients
from workers.runtimes.interpreter import answer, on_path
from workers.sandbox import Sandbox

#: Our client, for those before.
OURS: Final = Path(__file__).with_name("nodejs.mjs")
_CALLBACKS_UNTIL: Final = 22
#: Lambda has the even versions only, which are supported for long.
MAJORS: Final = range(16, 40, 2)


@dataclass(frozen=True, slots=True)
class Nodejs:
    """`nodejsNN.x`."""

    name: str

    @property
    def major(self) -> int:
        """The version that its name asks for."""
        return int(re.sub(r"\D", "", self.name))

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """The interpreter; the handler's module, unless a layer may have it."""
        self._program()
        handler = configuration.handler
        folder, _, name = handler.rpartition("/")
        module, dot, _ = name.partition(".")
        if not dot:
            raise PackageError(f"handler {handler!r} must be file.function, as index.handler")
        place = task_root / folder / module
        files = [place.with_name(f"{module}{end}") for end in (".js", ".mjs", ".cjs")]
        is_there = place.is_dir() or any(each.is_file() for each in files)
        if not configuration.layers and not is_there:
            shown = f"{folder}/{module}" if folder else module
            raise PackageError(
                f"the package has no {shown}.js, .mjs or .cjs, which the handler {handler!r} names"
            )

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """The heap within the function's memory, as Lambda bounds it, and a client."""
        memory = sandbox.spec.configuration.memory
        heap = f"--max-old-space-size={memory * 90 // 100}"
        young = f"--max-semi-space-size={memory * 5 // 100}"
        return (str(self._program()), heap, young, str(self._client()))

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Which runtime it is, and where `require` finds modules of layers."""
        opt, own = sandbox.opt, sandbox.spec.configuration.environment.get("NODE_PATH")
        layers = f"{opt}/nodejs/node{self.major}/node_modules:{opt}/nodejs/node_modules"
        path = own or f"{layers}:{sandbox.task_root}"
        return {"AWS_EXECUTION_ENV": f"AWS_Lambda_{self.name}", "NODE_PATH": path}

    def paths(self) -> tuple[Path, ...]:
        """The interpreter, which is one file, and the client."""
        client = self._client()
        return (self._program(), client if client == OURS else client.parent)

    def _client(self) -> Path:
        if self.major > _CALLBACKS_UNTIL and clients.has_nodejs():
            return clients.NODEJS_CLIENT / "index.mjs"
        return OURS

    def _program(self) -> Path:
        found = nodes()
        for program, version in found.items():
            if version.split(".")[0] == f"v{self.major}":
                return program
        there = f"; node is {', '.join(found.values())}" if found else ""
        raise RuntimeMissing(
            f"{self.name} needs Node.js {self.major} on the worker's PATH, as node or"
            f" node{self.major}{there}"
        )


def nodes() -> dict[Path, str]:
    """Node.js on PATH, as `node` or with its major version in the name: version by program."""
    found: dict[Path, str] = {}
    for program in on_path("node", *(f"node{major}" for major in MAJORS)):
        try:
            found[program.resolve()] = answer(program, "--version")
        except (OSError, subprocess.SubprocessError):
            continue  # something of that name that does not run
    return found
