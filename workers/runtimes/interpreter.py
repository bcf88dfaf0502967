"""Interpreters on this host: found on PATH, and asked once what they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

#: Seconds; a cold disk is slow, a version is short work.
_PATIENCE: Final = 60.0


def on_path(*names: str) -> Iterator[Path]:
    """Those programs that PATH has, in this order; a virtual environment's are links, and stay."""
    for name in names:
        found = shutil.which(name)
        if found:
            yield Path(found).absolute()


@cache
def answer(program: Path, *arguments: str) -> str:
    """What a program prints; asked again only while it fails.

    Raises:
        OSError: it cannot be run.
        subprocess.SubprocessError: it failed.
    """
    done = subprocess.run(
        [str(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=True,
        timeout=_PATIENCE,
    )
    return done.stdout.strip()
