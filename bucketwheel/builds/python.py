"""Python: what requirements.txt asks for, installed by the pip of this Python."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from bucketwheel.builds.tool import Tell, Tool
from storage.configuration import PYTHON

REQUIREMENTS: Final = "requirements.txt"

_PIP: Final = Tool(
    sys.executable, "pip", shown="Collecting|Downloading|Building|Installing|Successfully"
)


def installed(folder: Path, work: Path, tell: Tell, runtime: str = PYTHON) -> list[Path]:
    """A folder with what the folder's requirements.txt asks for; none, where there is none.

    For another Python than this one, only wheels serve: they say which one they are for.

    Raises:
        BuildError: something cannot be installed.
    """
    requirements = folder / REQUIREMENTS
    if not requirements.is_file():
        return []
    target = work / "installed"
    tell(f"installing {requirements}")
    arguments = ["-m", "pip", "install", "--target", str(target), "--no-compile"]
    arguments += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    arguments += ["--requirement", REQUIREMENTS]
    if runtime != PYTHON:
        arguments += ["--python-version", runtime.removeprefix("python")]
        arguments += ["--only-binary", ":all:"]
    _PIP.run(arguments, folder, tell, f"{requirements} cannot be installed")
    target.mkdir(exist_ok=True)  # pip makes none for an empty list
    return [target]


def build(folder: Path, work: Path, tell: Tell, runtime: str) -> list[Path]:
    """The code as it is, over what it requires."""
    return [*installed(folder, work, tell, runtime), folder]
