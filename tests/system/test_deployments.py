"""Deploying: what is good becomes active, what is bad is refused and leaves the old serving."""

from __future__ import annotations

import io
import json
import re
import textwrap
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bucketwheel.testing import System
from tests.system.conftest import Call, Deploy, status, wait_for

MB = 1024 * 1024

IMPORT = "from bucketwheel import function\n"

#: A module's text, and what `deploy` says of it.
BAD = {
    "a syntax error": (
        IMPORT + "def f(:\n    pass\n",
        ["Runtime.UserCodeSyntaxError: Syntax error in module 'app': ", "line 2"],
    ),
    "an import that fails": (
        IMPORT + "import nowhere_to_be_found\n",
        [
            "Runtime.ImportModuleError: Unable to import module 'app': "
            "No module named 'nowhere_to_be_found'"
        ],
    ),
    "no function": (
        IMPORT + "def f(event, context): ...\n",
        ["Runtime.HandlerNotFound: no function is declared in app"],
    ),
    "a handler out of reach": (
        IMPORT + "def make():\n    @function\n    def inner(event, context): ...\nmake()\n",
        ["Runtime.HandlerNotFound: Handler 'app.make.<locals>.inner' must be a function at the"],
    ),
    "an error at import": (
        IMPORT + "def load():\n    return {}['colour']\nload()\n",
        ["KeyError: module 'app' failed while it was imported: 'colour'", "return {}['colour']"],
    ),
    "too little memory": (
        IMPORT + "@function(memory=1)\ndef f(event, context): ...\n",
        ["ValueError: ", "memory must be 128 to 10,240 megabytes, not 1"],
    ),
    "too much time": (
        IMPORT + "@function(timeout=901)\ndef f(event, context): ...\n",
        ["ValueError: ", "timeout must be 1 to 900 seconds, not 901"],
    ),
    "no bucket's name": (
        IMPORT + "@function(bucket='No_Bucket')\ndef f(event, context): ...\n",
        ["ValueError: ", "bucket must be 3 to 63 lower-case letters"],
    ),
    "a bucket's name that the store refuses": (
        IMPORT + "@function(bucket='10.0.0.1')\ndef f(event, context): ...\n",
        ["bucket", "'10.0.0.1'"],
    ),
    "two of one name": (
        IMPORT + "@function(name='twin')\ndef a(event, context): ...\n"
        "@function(name='twin')\ndef b(event, context): ...\n",
        ["InvalidParameterValueException: 2 functions are named 'twin': name them apart"],
    ),
    "too many variables": (
        IMPORT + "@function(environment={'A': 'x' * 5000})\ndef f(event, context): ...\n",
        ["environment", "at most 4,096"],
    ),
    "a name that is none": (
        IMPORT + "@function(name='my function')\ndef f(event, context): ...\n",
        ["ValueError: ", "name must be 1 to 64 letters, digits, '-' or '_', not 'my function'"],
    ),
    "a handler that cannot be called": (
        IMPORT + "function(memory=128)(42)\n",
        ["TypeError: ", "decorates a handler f(event, context), not 42"],
    ),
    "an async handler": (
        IMPORT + "@function\nasync def f(event, context): ...\n",
        ["TypeError: ", "f is async, which Lambda's runtime does not run"],
    ),
    "an end at import": (
        IMPORT + "import os\nos._exit(7)\n",
        ["Runtime.ExitError: ", "Runtime exited with error: exit status 7"],
    ),
    "a polite end at import": (
        IMPORT + "import sys\nsys.exit(7)\n",
        ["Runtime.ExitError: module 'app' ended the process while it was imported: exit(7)"],
    ),
}

#: Builds a package without any tool that would have to be fetched.
BACKEND = """
    import zipfile

    INFO = "wheelwright-1.0.dist-info"

    def build_wheel(folder, *_):
        name = "wheelwright-1.0-py3-none-any.whl"
        with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
            wheel.writestr("wheelwright.py", "SPOKES = 12")
            text = "Metadata-Version: 2.1\\nName: wheelwright\\nVersion: 1.0\\n"
            wheel.writestr(f"{INFO}/METADATA", text)
            text = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
            wheel.writestr(f"{INFO}/WHEEL", text)
            wheel.writestr(f"{INFO}/RECORD", "")
        return name
"""

#: What cannot be packed: refused before anything is sent.
UNPACKABLE = {
    "no such file": ("nowhere.py", {}, "Path 'nowhere.py' does not exist"),
    "no Python file": ("app.txt", {"app.txt": "x"}, "app.txt is no Python file"),
    "a name that is no module's": ("my-app.py", {"my-app.py": IMPORT}, "rename it"),
    "a name that the library has": ("json.py", {"json.py": IMPORT}, "neither hides the other"),
    "an empty folder": (".", {}, "no function is declared in"),
    "requirements that do not install": (
        ".",
        {"app.py": IMPORT, "requirements.txt": "./nowhere\n"},
        "requirements.txt cannot be installed",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for code."""
    made = tmp_path / "code"
    made.mkdir()
    return made


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"deployed-{uuid.uuid4().hex[:10]}"


def _write(folder: Path, files: dict[str, str]) -> None:
    for each, text in files.items():
        path = folder / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@pytest.mark.parametrize("what", BAD)
def test_bad_code_is_refused_with_its_reason(system: System, folder: Path, what: str) -> None:
    """AWS's name and the reason on standard error, exit status 1, nothing on standard output."""
    text, told = BAD[what]
    _write(folder, {"app.py": text})

    done = system.tried("deploy", str(folder / "app.py"))

    assert (done.returncode, done.stdout) == (1, "")
    assert all(each in done.stderr for each in told), done.stderr
    assert "what was deployed before goes on serving" in done.stderr


@pytest.mark.parametrize("what", UNPACKABLE)
def test_what_cannot_be_packed_is_told_before_it_is_sent(
    system: System, folder: Path, what: str
) -> None:
    """The user's own mistake: one message, exit status 2."""
    path, files, told = UNPACKABLE[what]
    _write(folder, files)

    done = system.tried("deploy", path if what == "no such file" else str(folder / path))

    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_failed_deployment_leaves_the_old_version_serving(
    system: System, folder: Path, call: Call, name: str
) -> None:
    """Nothing changes until the new code is known to be good."""
    good = f"@function(name='{name}')\ndef f(event, context):\n    return 'old'\n"
    _write(folder, {"app.py": IMPORT + good})
    system.run("deploy", str(folder))
    _write(folder, {"app.py": IMPORT + good.replace("old", "new") + "1 / 0\n"})

    done = system.tried("deploy", str(folder))

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert call(name, {}) == "old"
    assert f"{name}" in system.run("functions")


def test_a_new_version_takes_over_at_once(
    system: System, folder: Path, call: Call, name: str
) -> None:
    """Once `deploy` has returned, the next invocation runs the new code."""
    for version in range(1, 4):
        text = f"@function(name='{name}')\ndef f(event, context):\n    return {version}\n"
        _write(folder, {"app.py": IMPORT + text})
        told = system.run("deploy", str(folder / "app.py"))

        assert told == f"{name} version {version}: invoked by hand\n"
        assert call(name, {}) == version


def test_a_function_may_change_its_bucket(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """The new bucket's uploads run it, the old one's no more."""
    text = "@function(name='{}', bucket='{}')\ndef f(event, context): ...\n"
    deploy(text.format(name, f"{bucket}-old"))
    deploy(text.format(name, f"{bucket}-new"))
    s3 = system.s3()
    s3.put_object(Bucket=f"{bucket}-old", Key="a", Body=b"x")
    s3.put_object(Bucket=f"{bucket}-new", Key="a", Body=b"x")

    wait_for(system, name, succeeded=1, queued=0)
    assert "TopicConfigurations" not in (
        found := s3.get_bucket_notification_configuration(Bucket=f"{bucket}-old")
    )
    assert "QueueConfigurations" not in found


def test_a_folder_may_hold_several_modules(
    system: System, folder: Path, call: Call, name: str
) -> None:
    """Each module that declares functions is looked into; others may be imported by them."""
    head = IMPORT + "from common.words import greeting\n"
    body = "@function(name='{}')\ndef f(event, context):\n    return greeting('{}')\n"
    files = {
        "first.py": head + body.format(f"{name}-1", "one"),
        "second.py": head + body.format(f"{name}-2", "two"),
        "common/__init__.py": "",
        "common/words.py": "from pathlib import Path\n"
        "def greeting(name):\n"
        "    return f\"{(Path(__file__).parent / 'hello.txt').read_text()} {name}\"\n",
        "common/hello.txt": "hello",
    }
    _write(folder, files)
    told = system.run("deploy", str(folder)).splitlines()

    assert sorted(line.split()[0] for line in told) == [f"{name}-1", f"{name}-2"]
    assert (call(f"{name}-1", {}), call(f"{name}-2", {})) == ("hello one", "hello two")


def test_requirements_are_installed_into_the_package(
    system: System, folder: Path, call: Call, name: str
) -> None:
    """A `requirements.txt` beside the code is part of deploying; here it names a local folder."""
    handler = f"@function(name='{name}')\ndef f(event, context):\n    return wheelwright.SPOKES\n"
    files = {
        "app.py": IMPORT + "import wheelwright\n" + handler,
        "requirements.txt": "--no-index\n./pkg\n",
        "pkg/pyproject.toml": "[build-system]\nrequires = []\n"
        'build-backend = "backend"\nbackend-path = ["."]\n',
        "pkg/backend.py": BACKEND,
    }
    _write(folder, files)
    system.run("deploy", str(folder / "app.py"))

    assert call(name, {}) == 12


def test_variables_come_from_the_command_and_the_code(
    system: System, deploy: Deploy, call: Call, name: str
) -> None:
    """`--env` wins over the decorator; both reach the handler as they are."""
    text = f"""
        import os

        @function(name="{name}", environment={{"KEPT": "code", "CHANGED": "code"}})
        def f(event, context):
            return [os.environ[each] for each in ("KEPT", "CHANGED", "ADDED")]
    """
    deploy(text, "--env", "CHANGED=command", "--env", "ADDED= a=b 'ü'\n")

    assert call(name, {}) == ["code", "command", " a=b 'ü'\n"]


def test_a_variable_without_value_is_refused(system: System, folder: Path) -> None:
    """`--env NAME` alone is a typing mistake."""
    _write(folder, {"app.py": IMPORT})
    done = system.tried("deploy", str(folder / "app.py"), "--env", "NAME")

    assert done.returncode == 2
    assert "'NAME' must be NAME=VALUE" in done.stderr


def test_too_large_variables_are_refused(system: System, folder: Path) -> None:
    """Lambda's quota for all of them together."""
    _write(folder, {"app.py": IMPORT + "@function\ndef f(event, context): ...\n"})
    done = system.tried("deploy", str(folder), "--env", f"A={'x' * 5_000}")

    assert done.returncode in (1, 2)
    assert "at most 4,096" in done.stderr and "Traceback" not in done.stderr


def test_usual_libraries_need_not_be_packed(deploy: Deploy, call: Call, name: str) -> None:
    """boto3, Pillow and minio can be imported as they are."""
    deploy(f"""
        import boto3, minio, PIL.Image

        @function(name="{name}", memory=512, timeout=30)
        def f(event, context):
            return [each.__name__ for each in (boto3, minio, PIL.Image)]
    """)
    assert call(name, {}) == ["boto3", "minio", "PIL.Image"]


def test_functions_are_listed_for_people_and_programs(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """`functions` has a line for each; `--json` tells the whole configuration."""
    deploy(f"""
        @function(name="{name}", bucket="{bucket}", prefix="in/", suffix=(".jpg", ".png"),
                  memory=256, timeout=20, environment={{"A": "b"}})
        def f(event, context): ...
    """)
    table = system.run("functions")
    (found,) = [
        each for each in json.loads(system.run("functions", "--json")) if each["name"] == name
    ]

    assert f"{bucket}/in/*.jpg, *.png" in table
    assert (found["memory"], found["timeout"], found["version"]) == (256, 20, 1)
    assert found["environment"] == {"A": "b"}
    (trigger,) = found["triggers"]
    assert (trigger["bucket"], trigger["prefix"]) == (bucket, "in/")
    assert trigger["suffixes"] == [".jpg", ".png"]


def _zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return content.getvalue()


def _manifest(**further: bytes) -> dict[str, bytes]:
    return {"bucketwheel.json": b'{"modules": ["app"]}', **further}


#: Makes an upload's content; and what is said of it.
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip file": (lambda: b"rubbish", "not a package made by `bucketwheel deploy`"),
    "nothing": (bytes, "not a package made by `bucketwheel deploy`"),
    "no manifest": (lambda: _zipped({"app.py": b""}), "not a package made by `bucketwheel deploy`"),
    "a manifest that is no JSON": (
        lambda: _zipped({"bucketwheel.json": b"{"}),
        "not a package made by `bucketwheel deploy`",
    ),
    "a bomb": (
        lambda: _zipped(_manifest(**{"app.py": b"", "zeros": bytes(260 * MB)})),
        "over 250 MB unpacked",
    ),
    "a manifest that is a bomb": (
        lambda: _zipped({"bucketwheel.json": bytes(600 * MB)}),
        "too large",
    ),
    "a path that escapes": (lambda: _zipped(_manifest(**{"../../escaped": b""})), "outside"),
    "a module that is not there": (lambda: _zipped(_manifest()), "Unable to import module 'app'"),
}


def test_hostile_uploads_are_refused_and_all_goes_on(
    system: System, deploy: Deploy, call: Call, name: str
) -> None:
    """A user may put anything into the system bucket: it is refused where he can see it."""
    before, failed = system.instance.children, status(system, "bucketwheel:deploy")["failed"]
    for at, (make, _) in enumerate(HOSTILE.values()):
        key = f"deployments/{name}-{at}.zip"
        system.s3().put_object(Bucket="bucketwheel", Key=key, Body=make())

    deploy(f"@function(name='{name}')\ndef f(event, context):\n    return 'fine'\n")
    assert call(name, {}) == "fine"
    assert status(system, "bucketwheel:deploy")["failed"] == failed + len(HOSTILE)
    found = system.run("logs", "bucketwheel:deploy")
    for at, (_, told) in enumerate(HOSTILE.values()):
        assert re.search(
            f"^deployment {name}-{at} failed: .*{re.escape(told)}", found, re.MULTILINE
        )
    assert f"last error of bucketwheel:deploy: deployment {name}-" in system.run("status")
    assert system.instance.children == before


def test_the_users_own_key_does_not_open_what_is_the_platforms(system: System) -> None:
    """Uploads for deployment are the user's; packages and configurations are not."""
    s3: Any = system.s3()
    for key in ("functions/x.json", "code/x.zip"):
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.put_object(Bucket="bucketwheel", Key=key, Body=b"x")


def test_a_broken_deployment_is_not_tried_for_ever(system: System, folder: Path) -> None:
    """A bad package is told once: nothing of it stays in line."""
    _write(folder, {"app.py": IMPORT + "1 / 0\n"})
    system.tried("deploy", str(folder))

    row = wait_for(system, "bucketwheel:deploy", queued=0, running=0, retrying=0)
    assert status(system, "bucketwheel:deploy")["failed"] == row["failed"]
