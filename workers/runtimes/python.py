"""Python: the worker's own is forked from the zygote, another is run; both with AWS's client.

https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.configuration import PYTHON, FunctionConfiguration
from storage.errors import PackageError
from workers.errors import RuntimeMissing
from workers.runtimes.interpreter import answer, on_path
from workers.sandbox import Sandbox

#: Versions that are looked for beside the worker's own.
MINORS: Final = range(9, 20)
_WHERE: Final = """
import awslambdaric, json, os, sys
client = os.path.dirname(os.path.dirname(awslambdaric.__file__))
print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, client]))
"""


@dataclass(frozen=True, slots=True)
class Python:
    """`python3.x`."""

    name: str

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """The interpreter with `awslambdaric`; the handler's module, unless a layer may have it."""
        self.paths()
        module, dot, _ = configuration.handler.rpartition(".")
        place = task_root / module.replace(".", "/")
        if not dot:
            raise PackageError(f"handler {configuration.handler!r} must be module.function")
        found = [f"{place.name}.*", f"{place.name}/__init__.*"]
        if not configuration.layers and not any(any(place.parent.glob(each)) for each in found):
            raise PackageError(
                f"the package has no module {module!r}, which the handler"
                f" {configuration.handler!r} names"
            )

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Fork the zygote, or run the interpreter of that name."""
        if self.name == PYTHON:
            return ()
        handler = sandbox.spec.configuration.handler
        return (str(self._found()[0]), "-m", "awslambdaric", handler)

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Which runtime it is, and where it finds modules: the package's first, then layers'."""
        layers = f"{sandbox.opt}/python/lib/{self.name}/site-packages:{sandbox.opt}/python"
        own = sandbox.spec.configuration.environment.get("PYTHONPATH")
        path = f"{own}:{layers}" if own else layers
        if self.name != PYTHON:
            path = f"{sandbox.task_root}:{path}"
        return {"AWS_EXECUTION_ENV": f"AWS_Lambda_{self.name}", "PYTHONPATH": path}

    def paths(self) -> tuple[Path, ...]:
        """The interpreter's own folders, and the client's."""
        if self.name == PYTHON:
            return (Path(sys.prefix), Path(sys.base_prefix))
        return self._found()[1:]

    def _found(self) -> tuple[Path, ...]:
        """The interpreter, its folders, and the folder of `awslambdaric`."""
        for program in on_path(self.name):
            try:
                return tuple(Path(each) for each in json.loads(answer(program, "-c", _WHERE)))
            except subprocess.CalledProcessError as error:
                if "No module named 'awslambdaric'" in error.stdout:
                    raise RuntimeMissing(
                        f"{self.name} is here, and AWS's client for it is not:"
                        f" {self.name} -m pip install awslambdaric"
                    ) from None
            except (OSError, ValueError, subprocess.SubprocessError):
                pass
        raise RuntimeMissing(
            f"{self.name} is not on the worker's PATH: install it, then"
            f" {self.name} -m pip install awslambdaric; the worker's own is {PYTHON}"
        )
