"""A build tool of the user's machine: run where it is found, told as it speaks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucketwheel.content import JUNK
from bucketwheel.errors import BuildError

Tell = Callable[[str], None]

#: Of what a tool says, lines that are kept to tell why it failed, and those that are told then.
_KEPT: Final = 1_000
_TOLD: Final = 10
#: How pip, npm, Maven and compilers begin the lines that matter; Maven's last ones are advice.
_ERROR: Final = re.compile(
    r"\s*(\[ERROR\] (?!->|\[Help|To see|Re-run|For more).|npm (ERR!|error)"
    r"|(ERROR|error)\b(?!: Exception:$))"
)
#: What terminals take for colours.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, and where whoever lacks it gets it."""

    program: str
    get: str
    #: Lines of its output that are told while it runs.
    shown: str = "\\S"

    def run(
        self,
        arguments: Iterable[str],
        folder: Path,
        tell: Tell,
        failed: str,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run it in a folder, and tell what it says; `failed` begins the error's message.

        Raises:
            BuildError: it is missing, or it failed, with its own words.
        """
        if shutil.which(self.program) is None:
            raise BuildError(f"{failed}: {self.program} is missing here: install {self.get}")
        process = subprocess.Popen(
            [self.program, *arguments],
            cwd=folder.absolute(),
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines: deque[str] = deque(maxlen=_KEPT)
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                lines.append(_COLOUR.sub("", line).rstrip())
                if re.match(rf"\s*({self.shown})", lines[-1]):
                    tell(f"  {lines[-1].strip()}")
        if process.returncode:
            raise BuildError(f"{failed}:\n" + "\n".join(_reason(list(lines))))


def copied(source: Path, work: Path) -> Path:
    """A copy to build in: nothing is written into the user's folder."""
    copy = work / "source"
    shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*JUNK))
    return copy


def _reason(lines: list[str]) -> list[str]:
    """The tool's own words: its first errors, else its last lines."""
    errors = [line for line in lines if _ERROR.match(line)]
    return [f"  {line}" for line in (errors[:_TOLD] or lines[-_TOLD:])]
