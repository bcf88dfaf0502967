"""Compilation: a package's Python modules, once, where functions may not write beside them.

Compiling runs nothing of a module, but may take long or crash on a hostile one: it has a process of
its own with limits, and what could not be compiled is compiled by whoever imports it.
"""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

#: Seconds of processor time, and bytes.
_TIME: Final = 120
_MEMORY: Final = 2 * 1024**3


def compile_modules(folder: Path) -> None:
    """Compile what is below a folder."""
    if next(folder.rglob("*.py"), None) is None:
        return
    subprocess.run(
        [sys.executable, "-P", "-m", "workers.compilation", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _compile(folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_TIME, _TIME))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)  # environments of other users read it
    compileall.compile_dir(folder, quiet=2)


if __name__ == "__main__":
    _compile(sys.argv[1])
