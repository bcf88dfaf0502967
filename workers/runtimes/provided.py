"""Provided: an executable of the function's own, `bootstrap`, that speaks the Runtime API itself.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.configuration import FunctionConfiguration
from storage.errors import PackageError
from workers.sandbox import Sandbox

_NONE = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"


@dataclass(frozen=True, slots=True)
class Provided:
    """`provided`, `provided.al2`, `provided.al2023`: the same, since this host is their system."""

    name: str

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """`bootstrap`, executable, unless a layer may have it."""
        bootstrap = task_root / "bootstrap"
        if bootstrap.is_file():
            _check_executable(bootstrap)
        elif not configuration.layers:
            raise PackageError(
                f"{_NONE}: an executable of that name belongs at the root of the package"
            )

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """The package's own, else a layer's.

        Raises:
            PackageError: neither has one that can be run.
        """
        spec = sandbox.spec
        if (spec.task_root / "bootstrap").is_file():
            return (f"{sandbox.task_root}/bootstrap",)
        if spec.layers is None or not (spec.layers / "bootstrap").is_file():
            raise PackageError(_NONE)
        _check_executable(spec.layers / "bootstrap")
        return (f"{sandbox.opt}/bootstrap",)

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """None: Lambda does not say which runtime it is either."""
        return {}

    def paths(self) -> tuple[Path, ...]:
        """Nothing but what every environment sees."""
        return ()


def _check_executable(bootstrap: Path) -> None:
    if not os.access(bootstrap, os.X_OK):
        raise PackageError(f"{_NONE}: it is there, and not executable: chmod +x bootstrap")
