"""Go: a module becomes the executable `bootstrap` of a `provided` runtime.

https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bucketwheel.builds.tool import Tell, Tool

_GO: Final = Tool("go", "Go: https://go.dev/dl")
#: A binary that asks for nothing of the host's: no C library, no folder names, no commit.
_STATIC: Final = {"CGO_ENABLED": "0", "GOOS": "linux"}
_FLAGS: Final = ("-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags=-s")


def build(folder: Path, work: Path, tell: Tell, runtime: str) -> list[Path]:
    """The executable alone; what has no go.mod is an executable of another kind already.

    Raises:
        BuildError: Go is missing or failed.
    """
    if not (folder / "go.mod").is_file():
        return [folder]
    tell(f"building {folder / 'go.mod'}")
    artifacts = work / "artifacts"
    arguments = ["build", *_FLAGS, "-o", str(artifacts / "bootstrap"), "."]
    _GO.run(arguments, folder, tell, f"{folder} cannot be built", _STATIC)
    return [artifacts]
