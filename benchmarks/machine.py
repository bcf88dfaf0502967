"""The machine and the programs: facts without which a figure says little."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

_LIBRARIES: Final = ("celery", "kombu", "redis", "boto3", "pillow", "awslambdaric")


def facts() -> dict[str, str]:
    """By name, in the order to print them."""
    minio = Path(sys.executable).parent / "minio"
    return {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Redis": _said("redis-server", r"v=(\S+)"),
        "MinIO": _said(str(minio) if minio.is_file() else "minio", r"version (\S+)"),
        **{name: version(name) for name in _LIBRARIES},
        "commit": _output("git", "describe", "--always", "--dirty"),
    }


def busy(seconds: float = 2.0) -> float:
    """How much of all processors is used now, 0 to 1."""
    return float(psutil.cpu_percent(seconds)) / 100


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _said(program: str, pattern: str) -> str:
    found = re.search(pattern, _output(program, "--version"))
    return found[1] if found else "unknown"


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "unknown"
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or "unknown"
