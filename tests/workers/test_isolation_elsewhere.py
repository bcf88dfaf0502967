"""Isolation where interpreter, rights and folders are other than usual: in a worker of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import absent
from tests.workers.hosts import Host, on_host

_REPOSITORY = Path(__file__).parents[2]
#: What the worker does: it prints the answers of a function, and what it was told.
_WORKER = """
import json, logging, sys
from pathlib import Path
from tests.workers.hosts import Host, on_host

logging.basicConfig(stream=sys.stderr, format="%(message)s")
folder, mode, paths, code, snap_start = json.loads(sys.argv[1])

async def work(host):
    environment = await host.environment(host.sandbox(code, snap_start=snap_start))
    answer = await environment.invoke([folder, sys.prefix])
    await environment.kill()
    print(json.dumps([host.zygote.isolation.mode, answer]))

on_host(Path(folder), mode, work, map(Path, paths))
"""
_CODE = """
import os, subprocess
def attempt(what):
    try:
        return what()
    except OSError as error:
        return error.strerror
def handler(event, context):
    folder, prefix = event
    return {
        "folder": attempt(lambda: os.listdir(folder)),
        "packages": attempt(lambda: os.listdir(folder + "/packages")),
        "prefix": os.path.isdir(prefix),
        "tmp": os.listdir("/tmp"),
        "root": attempt(lambda: os.listdir("/root")),
        "home": attempt(lambda: os.listdir("/home")),
        "task": attempt(lambda: open("/var/task/new", "w")),
        "processes": len([each for each in os.listdir("/proc") if each.isdigit()]),
    }
"""


def _environment_of(python: str, folder: Path) -> Path:
    """A virtual environment with our packages and those they need; returns its interpreter."""
    made = subprocess.run([python, "-m", "venv", "--without-pip", folder], capture_output=True)
    if made.returncode:
        absent(f"{python} makes no virtual environment: apt-get install python3-venv")
    library = next((folder / "lib").glob("python3.*/site-packages"))
    (library / "tried.pth").write_text(f"{_REPOSITORY}\n{_libraries()}\n")
    return folder / "bin" / "python"


def _libraries() -> Path:
    found = importlib.util.find_spec("awslambdaric")
    assert found is not None and found.origin is not None
    return Path(found.origin).parents[1]


def _work(
    command: list[str], folder: Path, mode: str | None, snap_start: bool = False, **user: Any
) -> tuple[str, Any, str]:
    """Isolation, answer and log of a worker that is run by this command."""
    arguments = json.dumps([str(folder), mode, [str(_libraries())], _CODE, snap_start])
    done = subprocess.run(
        [*command, "-c", _WORKER, arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(_REPOSITORY),
        },
        **user,
    )
    assert done.returncode == 0, done.stderr
    used, answer = json.loads(done.stdout)
    return used, answer, done.stderr


@pytest.fixture
def _root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        absent("users of their own need root: run the tests as root")


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("snap_start", [False, True], ids=["plain", "snapshot"])
def test_an_interpreter_below_tmp_is_seen_there(tmp_path: Path, snap_start: bool) -> None:
    """And a worker's folder below the interpreter's is not, though that is shown."""
    python = _environment_of(sys.executable, tmp_path / "venv")
    folder = tmp_path / "venv" / "data"
    folder.mkdir()

    used, answer, _ = _work([str(python)], folder, "uid", snap_start)

    assert used == "uid"
    assert answer["prefix"]
    assert answer["tmp"] == [tmp_path.relative_to("/tmp").parts[0]]
    assert (answer["folder"], answer["packages"]) == ("Permission denied", "Permission denied")


@pytest.mark.usefixtures("_root")
def test_a_root_without_the_right_to_mount_is_told_what_is_missing(tmp_path: Path) -> None:
    """As in most containers: the next best is used, and one line says what that leaves open."""
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable]
    used, _, log = _work(command, tmp_path / "data", None)

    assert used in ("bubblewrap", "none")
    if used == "none":
        (line,) = [each for each in log.splitlines() if "share the worker's user" in each]
        assert "uid: " in line
        assert "CAP_SYS_ADMIN" in line


@pytest.mark.usefixtures("_root")
def test_without_root_bubblewrap_keeps_functions_apart(tmp_path: Path) -> None:
    """Its own processes and files; the worker's folder is not there."""
    version = f"python3.{sys.version_info.minor}"
    python = shutil.which(version, path="/usr/local/bin:/usr/bin")
    if python is None or shutil.which("bwrap") is None:
        absent(f"this needs a {version} that every user may run, and bwrap: apt-get install both")
    if not all(
        each.stat().st_mode & 0o001 for each in [*_REPOSITORY.parents, *_libraries().parents]
    ):
        pytest.skip("this checkout lies in a folder that other users may not enter")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, 54321, 54321)
    other = _environment_of(python, tmp_path / "venv")

    user: dict[str, Any] = {"user": 54321, "group": 54321, "extra_groups": []}
    used, answer, _ = _work([str(other)], folder, None, **user)

    assert used == "bubblewrap"
    assert answer["folder"] == "No such file or directory"
    assert answer["task"] == "Read-only file system"
    assert answer["root"] == answer["home"] == "No such file or directory"
    assert answer["processes"] <= 3


def test_layers_are_at_their_place(tmp_path: Path) -> None:
    """In /opt, read-only, with Python's own folder on its path."""
    layers = tmp_path / "layers"
    (layers / "python").mkdir(parents=True)
    (layers / "python" / "layered.py").write_text("told = 'by a layer'\n")
    (layers / "file").write_text("x")
    code = """
    import os
    def handler(event, context):
        import layered
        try:
            open("/opt/new", "w")
        except OSError as error:
            return [layered.told, layered.__file__, os.listdir("/opt"), error.strerror]
    """

    async def work(host: Host) -> None:
        spec = dataclasses.replace(host.sandbox(textwrap.dedent(code)).spec, layers=layers)
        environment = await host.environment(host.another(spec))
        told, file, listed, refused = await environment.invoke()
        assert (told, file) == ("by a layer", "/opt/python/layered.py")
        assert sorted(listed) == ["file", "python"]
        assert refused == "Read-only file system"
        await environment.kill()

    on_host(tmp_path, "uid", work)
