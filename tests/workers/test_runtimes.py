"""Runtimes: which program runs a function, and what is refused at deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from storage.configuration import PYTHON, FunctionConfiguration, Layer
from storage.errors import PackageError
from tests.conftest import absent, serving
from workers.errors import RuntimeMissing
from workers.runtimes import clients, paths, runtime
from workers.runtimes.availability import availabilities
from workers.runtimes.nodejs import OURS
from workers.sandbox import EnvironmentSpec, Sandbox

# -- which program ---------------------------------------------------------------------------------


def _configuration(**values: Any) -> FunctionConfiguration:
    defaults: dict[str, Any] = {"name": "f", "handler": "app.handler", "code_sha256": "0" * 64}
    return FunctionConfiguration(**{**defaults, "deployed_at": datetime.now(UTC), **values})


def _sandbox(folder: Path, **values: Any) -> Sandbox:
    """As a worker that does not isolate has it."""
    task_root, tmp = folder / "code", folder / "tmp"
    task_root.mkdir(exist_ok=True)
    tmp.mkdir(exist_ok=True)
    layers = folder / "layers" if (folder / "layers").is_dir() else None
    spec = EnvironmentSpec("e1", _configuration(**values), task_root, layers, {})
    return Sandbox(spec, str(task_root), str(layers or tmp / "opt"), str(tmp))


def _write(folder: Path, **files: str) -> Path:
    """Write files into a package's folder; `__` in a name is a dot."""
    for name, text in files.items():
        path = folder / "code" / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "code"


def _interpreter(folder: Path, name: str, says: str) -> Path:
    """A program of that name that says a version, whatever it is asked."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of its own, with a shell's tools alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def _refusal(name: str, folder: Path, **values: Any) -> str:
    with pytest.raises((RuntimeMissing, PackageError)) as caught:
        runtime(name).check(_configuration(runtime=name, **values), folder / "code")
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nodejs20.x", "needs Node.js 20 on the worker's PATH, as node or node20"),
        ("java17", "needs Java 17 or newer, as java on the worker's PATH or in JAVA_HOME"),
        ("python3.99", "python3.99 is not on the worker's PATH: install it"),
    ],
)
def test_a_missing_interpreter_is_told_at_deployment(
    tmp_path: Path, path: Path, name: str, sentence: str
) -> None:
    """With what it must be called."""
    assert sentence in _refusal(name, tmp_path)


def test_an_interpreter_of_another_version_is_named(tmp_path: Path, path: Path) -> None:
    """Who has Node.js 18 and deploys for 20 reads both numbers."""
    _interpreter(path, "node", "v18.2.0")
    _interpreter(path, "java", 'openjdk version "11.0.1" 2018-10-16')

    assert "node is v18.2.0" in _refusal("nodejs20.x", tmp_path)
    assert "there is 11" in _refusal("java17", tmp_path)


def test_an_interpreter_is_found_by_its_version(tmp_path: Path, path: Path) -> None:
    """`node` may be of one version and `node22` of another; a newer Java runs older classes."""
    _interpreter(path, "node", "v18.2.0")
    other = _interpreter(path, "node22", "v22.1.0")
    home = path / "jdk" / "bin"
    home.mkdir(parents=True)
    java = _interpreter(home, "java", 'openjdk version "21.0.4" 2024-07-16 LTS')
    (path / "java").symlink_to(java)

    node, *_ = runtime("nodejs22.x").command(_sandbox(tmp_path, runtime="nodejs22.x"))
    found, *_ = runtime("java17").command(_sandbox(tmp_path, runtime="java17"))

    assert (node, found) == (str(other), str(java))
    assert home.parent in runtime("java8.al2").paths()


def test_another_python_needs_the_client(tmp_path: Path, path: Path) -> None:
    """The sentence is the command to type."""
    other = "python3.12" if PYTHON != "python3.12" else "python3.13"
    says = "ModuleNotFoundError: No module named 'awslambdaric'"
    (path / other).write_text(f'#!/bin/sh\necho "{says}"\nexit 1\n')
    (path / other).chmod(0o755)

    assert f"{other} -m pip install awslambdaric" in _refusal(other, tmp_path)


def test_the_workers_own_python_is_forked(tmp_path: Path) -> None:
    """An empty command; layers come behind the package and before what the worker has."""
    sandbox = _sandbox(tmp_path, environment={"PYTHONPATH": "/theirs"})
    found = runtime(PYTHON)

    assert found.command(sandbox) == ()
    assert found.variables(sandbox) == {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "PYTHONPATH": f"/theirs:{sandbox.opt}/python/lib/{PYTHON}/site-packages"
        f":{sandbox.opt}/python",
    }


def test_another_python_runs_awss_client(tmp_path: Path, path: Path) -> None:
    """By the interpreter's own word for where it lies: what PATH has may be a script."""
    name = f"python3.{sys.version_info.minor + 1}"
    (path / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (path / name).chmod(0o755)

    program, *rest = runtime(name).command(_sandbox(tmp_path, runtime=name))

    assert (program, rest) == (sys.executable, ["-m", "awslambdaric", "app.handler"])
    assert Path(sys.prefix) in runtime(name).paths()


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [
        ("", ["-Xmx435m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]),
        ("-Xmx100m", ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]),
        ("-XX:+UseG1GC -XX:+TieredCompilation", ["-Xmx435m"]),
    ],
)
def test_a_functions_own_java_options_win(
    tmp_path: Path, path: Path, theirs: str, kept: list[str]
) -> None:
    """Java lets its command line win over JAVA_TOOL_OPTIONS, and refuses two collectors."""
    (path / "bin").mkdir()
    _interpreter(path / "bin", "java", 'openjdk version "17.0.1"')
    (path / "java").symlink_to(path / "bin" / "java")
    sandbox = _sandbox(tmp_path, memory=512, environment={"JAVA_TOOL_OPTIONS": theirs})

    command = runtime("java17").command(sandbox)

    options = ["-Xmx435m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    assert [each for each in command if each in options] == kept


# -- what a package must have ----------------------------------------------------------------------

_LAYER = Layer(name="base", version=1, code_sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "handler"),
    [
        (PYTHON, "src/other.handler"),
        (PYTHON, "handler"),
        ("nodejs20.x", "src/other.handler"),
        ("nodejs20.x", "handler"),
        ("java17", "example.Other::handleRequest"),
        ("provided.al2023", "bootstrap"),
    ],
)
def test_a_handler_that_is_not_in_the_package_is_told_at_deployment(
    tmp_path: Path, name: str, handler: str
) -> None:
    """Not at the first event."""
    _needs(name)
    _write(tmp_path, src__py="", app__py="")

    assert "package" in _refusal(name, tmp_path, handler=handler) or "must be" in _refusal(
        name, tmp_path, handler=handler
    )


@pytest.mark.parametrize(
    ("name", "handler", "file"),
    [
        (PYTHON, "app.handler", "app.py"),
        (PYTHON, "src.app.handler", "src/app.py"),
        (PYTHON, "src/app.handler", "src/app/__init__.py"),
        ("nodejs20.x", "app.handler", "app.js"),
        ("nodejs20.x", "src/app.handlers.crop", "src/app.mjs"),
        ("nodejs20.x", "app.handler", "app.cjs"),
        ("nodejs20.x", "app.handler", "app/index.js"),
        ("java17", "example.Handler::handleRequest", "example/Handler.class"),
        ("java17", "example.Handler", "example/Handler.class"),
    ],
)
def test_a_handler_is_found_where_its_client_looks_for_it(
    tmp_path: Path, name: str, handler: str, file: str
) -> None:
    """With folders, with nested exports, as a class in a package."""
    _needs(name)
    place = tmp_path / "code" / file
    place.parent.mkdir(parents=True)
    place.touch()

    runtime(name).check(_configuration(runtime=name, handler=handler), tmp_path / "code")


def test_a_class_is_found_in_a_jar(tmp_path: Path) -> None:
    """Of lib/, where builds put dependencies; a broken one is told by its name."""
    _needs("java17")
    library = tmp_path / "code" / "lib"
    library.mkdir(parents=True)
    with ZipFile(library / "app.jar", "w") as jar:
        jar.writestr("example/Handler.class", b"")
    configuration = _configuration(runtime="java17", handler="example.Handler")

    runtime("java17").check(configuration, tmp_path / "code")

    (library / "a.jar").write_bytes(b"rubbish")
    assert "lib/a.jar in the package is no jar" in _refusal(
        "java17", tmp_path, handler="example.Handler"
    )


def test_a_bootstrap_comes_from_the_package_or_a_layer(tmp_path: Path) -> None:
    """The package's own first."""
    provided = runtime("provided.al2023")
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "bootstrap").touch(0o755)
    sandbox = _sandbox(tmp_path)

    provided.check(_configuration(layers=(_LAYER,)), tmp_path / "code")
    assert provided.command(sandbox) == (f"{sandbox.opt}/bootstrap",)

    _write(tmp_path, bootstrap="#!/bin/sh\n").joinpath("bootstrap").chmod(0o755)
    assert provided.command(sandbox) == (f"{sandbox.task_root}/bootstrap",)


def test_a_bootstrap_must_be_there_and_executable(tmp_path: Path) -> None:
    """In AWS's words, and what to do."""
    none = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
    with pytest.raises(PackageError, match="Couldn't find"):
        runtime("provided").command(_sandbox(tmp_path))

    assert none in _refusal("provided", tmp_path)

    _write(tmp_path, bootstrap="#!/bin/sh\n")
    assert "chmod +x bootstrap" in _refusal("provided.al2", tmp_path)


def test_every_runtime_found_here_is_available_or_says_why_not() -> None:
    """The table of `bucketwheel runtimes`: the worker's own Python, and any executable."""
    found = {each.runtime: each for each in availabilities()}

    assert found[PYTHON].missing == ""
    assert any(name.startswith("provided") and not each.missing for name, each in found.items())
    assert all(each.missing or (each.interpreter and each.client) for each in found.values())


def test_the_command_lists_runtimes_for_people_and_for_programs() -> None:
    """`bucketwheel runtimes`: a table, or the same as JSON."""
    command = [sys.executable, "-P", "-m", "bucketwheel", "runtimes"]

    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout

    found = json.loads(told)
    assert all(each["runtime"] in table for each in found)
    assert PYTHON in {each["runtime"] for each in found}


class _Elsewhere(BaseHTTPRequestHandler):
    """Has another file than was asked for, or breaks off in the middle of it."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "7" if "core" in self.path else "9")
        self.end_headers()
        self.wfile.write(b"rubbish")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("jar", "sentence"),
    [(1, "has the SHA-256 71ca7d93"), (0, "cannot be fetched: it broke off")],
)
def test_a_client_is_installed_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jar: int, sentence: str
) -> None:
    """A file that is another than the pinned one, or half of it, is told and thrown away."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    with serving(server):
        monkeypatch.setattr(clients, "_CENTRAL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(clients, "FOLDER", tmp_path)
        monkeypatch.setattr(clients, "JARS", clients.JARS[jar : jar + 1])
        with pytest.raises(RuntimeMissing, match=sentence):
            clients.install_java(lambda line: None)

    assert list((tmp_path / "java").iterdir()) == []
    assert not clients.has_java()


def test_what_a_build_needs_is_told(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it at once."""
    monkeypatch.setattr(clients, "NODEJS_CLIENT", tmp_path)

    with pytest.raises(RuntimeMissing, match=r"needs npm, cmake, make, g\+\+"):
        clients.install_nodejs(lambda line: None)


def test_what_environments_must_see_of_the_host_is_what_is_there(path: Path) -> None:
    """A view of the host is made of it: nothing that is missing, and the worker's own Python."""
    java = path / "jdk" / "bin"
    java.mkdir(parents=True)
    _interpreter(java, "java", 'openjdk version "17.0.1"')
    (path / "java").symlink_to(java / "java")
    _interpreter(path, "node20", "v20.1.0")

    found = paths()

    assert {Path(sys.prefix), java.parent, path / "node20", OURS} <= set(found)
    assert all(each.exists() for each in found)


def _needs(name: str) -> None:
    """Skip where this host lacks what a runtime needs."""
    try:
        runtime(name).paths()
    except RuntimeMissing as error:
        absent(str(error))
    if name.startswith("java") and not clients.has_java():
        absent("AWS's client for Java is missing: bucketwheel runtimes install java")
