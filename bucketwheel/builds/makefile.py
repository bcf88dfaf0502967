"""Make: a Makefile of the user's builds whatever it likes, by AWS's contract.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/building-custom-runtimes.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bucketwheel.builds.tool import Tell, Tool, copied
from bucketwheel.errors import BuildError

_MAKE: Final = Tool("make", "GNU make")


def build(folder: Path, work: Path, tell: Tell, target: str) -> list[Path]:
    """What `make build-<logical id>` puts into the folder that ARTIFACTS_DIR names.

    Raises:
        BuildError: there is no Makefile, make is missing or failed, or it made nothing.
    """
    if not (folder / "Makefile").is_file():
        raise BuildError(f"{folder} has no Makefile, which BuildMethod: makefile asks for")
    tell(f"building {folder / 'Makefile'}, build-{target}")
    copy, artifacts = copied(folder, work), work / "artifacts"
    artifacts.mkdir()
    # Of a make that has started us, nothing is handed on.
    variables = {"ARTIFACTS_DIR": str(artifacts), "MAKEFLAGS": "", "MAKELEVEL": "0"}
    _MAKE.run([f"build-{target}"], copy, tell, f"{folder} cannot be built", variables)
    if not any(artifacts.iterdir()):
        raise BuildError(f"{folder}: make build-{target} put nothing into $ARTIFACTS_DIR")
    return [artifacts]
