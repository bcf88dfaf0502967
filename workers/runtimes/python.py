"""Python: the worker's own, forked from the zygote, with AWS's client `awslambdaric`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from storage.configuration import FunctionConfiguration
from workers.sandbox import Sandbox


class Python:
    """`python3.x`."""

    def check(self, configuration: FunctionConfiguration, task_root: Path) -> None:
        """Nothing to look for: deployment has imported the code."""

    def command(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Fork the zygote."""
        return ()

    def variables(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Which runtime it is."""
        return {"AWS_EXECUTION_ENV": f"AWS_Lambda_{sandbox.spec.configuration.runtime}"}

    def paths(self) -> tuple[Path, ...]:
        """The interpreter's own folders."""
        return (Path(sys.prefix), Path(sys.base_prefix))
