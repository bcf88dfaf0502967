"""Builds: what each kind of code becomes, by the real tools, with nothing left in the folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from bucketwheel.builds import Code
from bucketwheel.errors import BuildError
from storage.configuration import PYTHON
from storage.errors import PackageError
from tests.conftest import absent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder of a user's."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where things are built."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def _tool(program: str, get: str) -> None:
    if shutil.which(program) is None:
        absent(f"{program} is not installed: {get}")


def _write(folder: Path, **files: str) -> None:
    """Files by their names, with `__` for a dot and `___` for a slash."""
    for name, text in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _listed(folder: Path) -> dict[str, int]:
    return {
        str(each.relative_to(folder)): each.stat().st_mtime_ns for each in sorted(folder.rglob("*"))
    }


def _built(code: Code, work: Path) -> dict[str, Path]:
    """The files of a build, which leaves the user's folder as it was."""
    folder = code.path if code.path.is_dir() else code.path.parent
    before = _listed(folder)
    found = code.files(work, lambda line: None)
    assert _listed(folder) == before
    return found


def _without(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH on which nothing is."""
    assert not (tmp_path / "bin" / program).exists()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


# -- what needs no tool ----------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["", "python3.11", "nodejs20.x", "java17", "provided.al2023"])
def test_what_needs_no_build_is_packed_as_it_is(source: Path, work: Path, runtime: str) -> None:
    """A bootstrap of one's own, a script, classes."""
    _write(source, bootstrap="#!/bin/sh", deep___index__js="")

    assert _built(Code(source, runtime), work).keys() == {"bootstrap", "deep/index.js"}


@pytest.mark.parametrize("name", ["code.zip", "code.jar"])
def test_an_archive_is_unpacked_as_lambda_does(source: Path, work: Path, name: str) -> None:
    """A jar is a zip: its classes lie at the root of the package."""
    with ZipFile(source / name, "w") as archive:
        archive.writestr("example/Handler.class", "")
        archive.writestr("lib/dependency.jar", "")

    found = _built(Code(source / name, "java17"), work)
    assert found.keys() == {"example/Handler.class", "lib/dependency.jar"}


def test_a_hostile_archive_is_refused_before_it_is_uploaded(source: Path, work: Path) -> None:
    """Workers would refuse it too."""
    with ZipFile(source / "code.zip", "w") as archive:
        archive.writestr("../escaped", "")

    with pytest.raises(PackageError, match="outside"):
        Code(source / "code.zip", "python3.11").files(work, lambda line: None)


@pytest.mark.parametrize(
    ("runtime", "name"), [("python3.11", "index.py"), ("nodejs20.x", "index.js")]
)
def test_code_of_a_template_becomes_a_file(
    source: Path, work: Path, runtime: str, name: str
) -> None:
    """Named as CloudFormation names it."""
    found = _built(Code(source / "template.yaml", runtime, inline="é = 1\n"), work)

    assert {each: path.read_text() for each, path in found.items()} == {name: "é = 1\n"}


# -- Python ----------------------------------------------------------------------------------------


def _wheel(folder: Path, python: str) -> str:
    """A wheel for one Python, which pip fetches from nobody; its name."""
    name = f"wonder-1.0-{python}-none-any.whl"
    info = "wonder-1.0.dist-info"
    with ZipFile(folder / name, "w") as archive:
        archive.writestr("wonder.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wonder\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {python}-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return name


def test_requirements_are_those_of_the_functions_own_python(source: Path, work: Path) -> None:
    """Which may be another than the one that deploys."""
    _write(source, requirements__txt=f"./{_wheel(source, 'cp399')}", app__py="")

    assert "wonder.py" in _built(Code(source, "python3.99"), work)
    with pytest.raises(BuildError, match=r"cannot be installed:\n  ERROR: .*not a supported wheel"):
        Code(source, PYTHON).files(work, lambda line: None)


def test_a_layer_of_python_modules_lies_where_python_looks(source: Path, work: Path) -> None:
    """AWS: python/."""
    _write(source, requirements__txt=f"./{_wheel(source, 'py3')}", own__py="")

    found = _built(Code(source, PYTHON, is_layer=True), work)
    assert {"python/wonder.py", "python/own.py"} < found.keys()


# -- make ------------------------------------------------------------------------------------------


def test_a_makefile_builds_into_the_folder_it_is_told(source: Path, work: Path) -> None:
    """AWS's contract: build-<logical id>, ARTIFACTS_DIR."""
    _tool("make", "apt install make")
    _write(
        source,
        Makefile="build-Crop:\n\ttouch junk\n\tcp main.sh $(ARTIFACTS_DIR)/bootstrap\n",
        main__sh="#!/bin/sh\n",
    )

    found = _built(Code(source, "provided.al2023", target="Crop"), work)
    assert {name: path.read_text() for name, path in found.items()} == {"bootstrap": "#!/bin/sh\n"}


@pytest.mark.parametrize(
    ("makefile", "match"),
    [
        (None, "has no Makefile, which BuildMethod: makefile asks for"),
        ("build-Other:\n", "cannot be built:\n.*No rule to make target 'build-Crop'"),
        ("build-Crop:\n\t@echo 'it is broken'; false\n", "cannot be built:\n  it is broken"),
        ("build-Crop:\n\t@true\n", r"make build-Crop put nothing into \$ARTIFACTS_DIR"),
    ],
)
def test_a_makefile_that_builds_nothing_is_told(
    source: Path, work: Path, makefile: str | None, match: str
) -> None:
    """In make's own words."""
    _tool("make", "apt install make")
    if makefile is not None:
        _write(source, Makefile=makefile)

    with pytest.raises(BuildError, match=match):
        Code(source, "provided.al2023", target="Crop").files(work, lambda line: None)


# -- Node.js ---------------------------------------------------------------------------------------

_WITH_DEPENDENCIES = '{"dependencies": {"wonder": "file:./wonder-1.0.0.tgz"}}'


@pytest.fixture
def node_project(source: Path, tmp_path: Path) -> Path:
    """A project that depends on a package which npm fetches from nobody."""
    _tool("npm", "https://nodejs.org")
    package = tmp_path / "wonder"
    _write(package, package__json='{"name": "wonder", "version": "1.0.0"}', index__js="answer")
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", source], cwd=package, check=True
    )
    _write(source, package__json=_WITH_DEPENDENCIES, index__js="")
    return source


def test_npm_installs_what_package_json_asks_for(node_project: Path, work: Path) -> None:
    """Beside the code."""
    found = _built(Code(node_project, "nodejs20.x"), work)

    assert found["node_modules/wonder/index.js"].read_text() == "answer"
    assert "index.js" in found


def test_modules_that_are_there_are_taken(node_project: Path, work: Path) -> None:
    """Whoever installs them himself has a reason."""
    _write(node_project, node_modules___own___index__js="")

    found = _built(Code(node_project, "nodejs20.x"), work)
    assert "node_modules/own/index.js" in found
    assert "node_modules/wonder/index.js" not in found


def test_a_layer_of_node_modules_lies_where_node_looks(node_project: Path, work: Path) -> None:
    """AWS: nodejs/node_modules."""
    found = _built(Code(node_project, "nodejs20.x", is_layer=True), work)

    assert "nodejs/node_modules/wonder/index.js" in found


def test_npms_failure_is_told_in_its_words(source: Path, work: Path) -> None:
    """Its error, not all it says."""
    _tool("npm", "https://nodejs.org")
    _write(source, package__json='{"dependencies": {"wonder": "file:./is-not-there.tgz"}}')

    with pytest.raises(BuildError, match=r"package\.json cannot be installed:\n  npm err"):
        Code(source, "nodejs20.x").files(work, lambda line: None)


@pytest.mark.parametrize("text", ["{", "\xff{}"])
def test_what_is_no_package_json_is_told(source: Path, work: Path, text: str) -> None:
    """Before npm is asked."""
    _write(source, package__json=text)

    with pytest.raises(BuildError, match=r"package\.json is no JSON"):
        Code(source, "nodejs20.x").files(work, lambda line: None)


# -- Go --------------------------------------------------------------------------------------------


def test_a_go_module_becomes_a_bootstrap(source: Path, work: Path) -> None:
    """An executable that runs anywhere, and the same bytes each time."""
    _tool("go", "https://go.dev/dl")
    _write(
        source, go__mod="module example\n", main__go='package main\nfunc main() { print("ran") }'
    )
    (work / "again").mkdir()

    found = _built(Code(source, "provided.al2023"), work)
    again = _built(Code(source, "provided.al2023"), work / "again")

    assert found.keys() == {"bootstrap"}
    assert found["bootstrap"].read_bytes() == again["bootstrap"].read_bytes()
    done = subprocess.run([found["bootstrap"]], capture_output=True, check=True)
    assert done.stderr == b"ran"


def test_gos_failure_is_told_in_its_words(source: Path, work: Path) -> None:
    """With file and line."""
    _tool("go", "https://go.dev/dl")
    _write(source, go__mod="module example\n", main__go="package main\nfunc main() { nothing() }")

    with pytest.raises(
        BuildError, match=r"cannot be built:\n(.*\n)*.*main\.go:2:15: undefined: nothing"
    ):
        Code(source, "provided.al2023").files(work, lambda line: None)


# -- Java ------------------------------------------------------------------------------------------

_POM = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>example</artifactId><version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>aws-lambda-java-core</artifactId>
      <version>1.4.0</version>
    </dependency>
  </dependencies>
</project>
"""


def _maven() -> None:
    _tool("mvn", "https://maven.apache.org/install.html")
    if os.environ.get("BUCKETWHEEL_OFFLINE"):
        pytest.skip("Maven needs its repository")


def test_a_maven_project_becomes_classes_and_libraries(source: Path, work: Path) -> None:
    """AWS's layout: classes at the root, dependencies in lib/."""
    _maven()
    _write(
        source,
        pom__xml=_POM,
        src___main___java___example___Handler__java="package example;\npublic class Handler {}\n",
        target___classes___example___Gone__class="",
    )

    found = _built(Code(source, "java17"), work)
    assert found.keys() == {"example/Handler.class", "lib/aws-lambda-java-core-1.4.0.jar"}


def test_mavens_failure_is_told_in_its_words(source: Path, work: Path) -> None:
    """With file and line."""
    _maven()
    _write(source, pom__xml=_POM, src___main___java___Handler__java="public class Handler { x }\n")

    with pytest.raises(BuildError, match=r"cannot be built:\n(.*\n)*.*Handler\.java:\[1,25\]"):
        Code(source, "java17").files(work, lambda line: None)


def test_gradle_is_not_run(source: Path, work: Path) -> None:
    """What to do instead is said."""
    _write(source, build__gradle="")

    with pytest.raises(BuildError, match="Gradle is not run here: build a zip or jar"):
        Code(source, "java17").files(work, lambda line: None)


# -- tools that are missing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "program", "name", "text", "get"),
    [
        ("nodejs20.x", "npm", "package.json", _WITH_DEPENDENCIES, "https://nodejs.org"),
        ("provided.al2023", "go", "go.mod", "module example", "https://go.dev/dl"),
        ("java17", "mvn", "pom.xml", _POM, "https://maven.apache.org/install.html"),
    ],
)
def test_a_missing_tool_is_told_with_where_to_get_it(
    source: Path,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    program: str,
    name: str,
    text: str,
    get: str,
) -> None:
    """One error, before anything is uploaded."""
    (source / name).write_text(text)
    _without(program, monkeypatch, tmp_path)

    with pytest.raises(BuildError, match=f"{program} is missing here: install .*{get}"):
        Code(source, runtime).files(work, lambda line: None)
