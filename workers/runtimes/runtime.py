"""What every runtime is to the rest: how a function of its kind is started, and what that needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from storage.configuration import FunctionConfiguration
from workers.sandbox import Sandbox


class Runtime(Protocol):
    """One kind of function: Python, Node, Java, or an executable of the function's own."""

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """Look, at deployment, whether this host can run a function from its unpacked package.

        Raises:
            RuntimeMissing: the interpreter or AWS's client is missing, and how to get it.
            PackageError: the package has no such handler's file, or no `bootstrap`.
        """

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """The program to run with its arguments; empty: fork the zygote, which is Python."""

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Environment variables that only this runtime has, AWS_EXECUTION_ENV among them."""

    def paths(self) -> tuple[Path, ...]:
        """Files and folders of this host that its programs must be able to read."""
