"""Java: a Maven project becomes classes at the root and its dependencies in lib/.

https://docs.aws.amazon.com/lambda/latest/dg/java-package.html
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from bucketwheel.builds.tool import Tell, Tool, copied
from bucketwheel.errors import BuildError

_MAVEN: Final = Tool("mvn", "Maven, and a JDK: https://maven.apache.org/install.html")
_GOALS: Final = ("package", "dependency:copy-dependencies", "-DincludeScope=runtime")


def build(folder: Path, work: Path, tell: Tell, runtime: str) -> list[Path]:
    """Classes and dependencies of a project; what is no project is built already.

    Raises:
        BuildError: Maven is missing or failed, or it is a Gradle project.
    """
    if not (folder / "pom.xml").is_file():
        _refuse_gradle(folder)
        return [folder]
    tell(f"building {folder / 'pom.xml'}")
    copy = copied(folder, work)
    shutil.rmtree(copy / "target", ignore_errors=True)  # classes of sources that are gone
    _MAVEN.run(["-q", "-B", *_GOALS], copy, tell, f"{folder} cannot be built")
    return [_artifacts(copy / "target", folder)]


def _artifacts(target: Path, folder: Path) -> Path:
    classes, dependencies = target / "classes", target / "dependency"
    if not classes.is_dir():
        raise BuildError(
            f"{folder}: Maven made no target/classes: name the folder of the module that has them"
        )
    if dependencies.is_dir():
        shutil.copytree(dependencies, classes / "lib", dirs_exist_ok=True)
    return classes


def _refuse_gradle(folder: Path) -> None:
    if any((folder / name).is_file() for name in ("build.gradle", "build.gradle.kts")):
        raise BuildError(
            f"{folder}: Gradle is not run here: build a zip or jar with it, and name that in"
            " CodeUri; or have a makefile run it (BuildMethod: makefile)"
        )
