"""Layers: published by an upload as all code is; functions that ask for them find them."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from bucketwheel.testing import System
from tests.conftest import absent
from tests.system.conftest import Call, Deploy

MB = 1024 * 1024


@pytest.fixture
def name() -> str:
    """Name of a layer, a module and a function that no other test uses."""
    return f"wonder{uuid.uuid4().hex[:8]}"


def _layer(folder: Path, name: str, answer: int) -> Path:
    """A folder with a module of Python's, and a program."""
    made = folder / "layer"
    (made / "python").mkdir(parents=True, exist_ok=True)
    (made / "bin").mkdir(exist_ok=True)
    (made / "python" / f"{name}.py").write_text(f"ANSWER = {answer}\n")
    program = made / "bin" / name
    program.write_text(f"#!/bin/sh\necho {answer}\n")
    program.chmod(0o755)
    return made


def _listed(system: System, name: str) -> dict[str, Any]:
    found = {each["name"]: each for each in json.loads(system.run("layers", "--json"))}
    return dict(found[name])


def test_a_function_finds_what_its_layer_has(
    system: System, deploy: Deploy, call: Call, name: str, tmp_path: Path
) -> None:
    """Modules, also those that deployment must import with the code; programs."""
    assert system.run("layer", "publish", name, str(_layer(tmp_path, name, 1))) == f"{name}:1\n"
    text = f"""
        import subprocess
        import {name}

        @function(name='{name}', layers='{name}', timeout=30)
        def f(event, context):
            return [{name}.ANSWER, subprocess.check_output('{name}', text=True).strip()]
    """
    deploy(text)

    assert call(name, {}) == [1, "1"]


def test_a_function_in_node_finds_what_its_layer_has(
    system: System, call: Call, name: str, tmp_path: Path
) -> None:
    """A whole template: modules where Node looks for them."""
    if shutil.which("node") is None:
        absent("Node.js is not installed: https://nodejs.org")
    major = subprocess.check_output(
        ["node", "-p", "process.versions.node.split('.')[0]"], text=True
    )
    module = tmp_path / "layer" / "nodejs" / "node_modules" / name
    module.mkdir(parents=True)
    (module / "index.js").write_text("exports.answer = 42\n")
    (tmp_path / "template.yaml").write_text(f"""
        Resources:
          Wonder:
            Type: AWS::Serverless::LayerVersion
            Properties: {{LayerName: {name}, ContentUri: layer}}
          Answer:
            Type: AWS::Serverless::Function
            Properties:
              FunctionName: {name}
              Runtime: nodejs{major.strip()}.x
              Handler: index.handler
              Layers: [!Ref Wonder]
              InlineCode: |
                const wonder = require("{name}")
                exports.handler = async () => wonder.answer
    """)

    system.run("deploy", str(tmp_path))
    assert call(name, {}) == 42


def test_a_function_keeps_its_layers_until_it_is_deployed_again(
    system: System, deploy: Deploy, call: Call, name: str, tmp_path: Path
) -> None:
    """The newest version is that of the deployment; a number means that version for ever."""
    system.run("layer", "publish", name, str(_layer(tmp_path, name, 1)))
    text = (
        f"import {name}\n@function(name='{name}', layers=['LAYER'], timeout=30)\n"
        f"def f(event, context):\n    return {name}.ANSWER\n"
    )
    deploy(text.replace("LAYER", name))
    assert system.run("layer", "publish", name, str(_layer(tmp_path, name, 2))) == f"{name}:2\n"

    assert call(name, {}) == 1
    deploy(text.replace("LAYER", name))
    assert call(name, {}) == 2
    deploy(text.replace("LAYER", f"{name}:1"))
    assert call(name, {}) == 1


def test_the_same_content_makes_no_new_version(system: System, name: str, tmp_path: Path) -> None:
    """As a folder, as the zip file of it, and when a file's date has changed."""
    folder = _layer(tmp_path, name, 1)
    system.run("layer", "publish", name, str(folder))
    first = _listed(system, name)
    (folder / "bin" / name).touch()

    assert system.run("layer", "publish", name, str(folder)) == f"{name}:1\n"
    assert _listed(system, name) == first


def test_a_zip_is_a_layer_too(system: System, name: str, tmp_path: Path) -> None:
    """As whoever comes from AWS has it."""
    with ZipFile(tmp_path / "layer.zip", "w") as archive:
        archive.writestr(f"python/{name}.py", "")

    system.run("layer", "publish", name, str(tmp_path / "layer.zip"))
    assert _listed(system, name)["version"] == 1
    assert name in system.run("layers")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a b", "."], "'a b' must be 1 to 140 letters"),
        (["fine", "app.py"], "app.py is no folder and no .zip"),
        (["fine", "empty"], "empty has no files"),
    ],
)
def test_what_can_be_no_layer_is_told(
    system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    """Before anything is uploaded."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "app.py").touch()
    monkeypatch.chdir(tmp_path)

    done = system.tried("layer", "publish", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "uploaded" not in done.stderr


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("NAME", "no layer 'NAME' is published: `bucketwheel layer publish NAME PATH` does it"),
        ("KNOWN:7", "layer 'KNOWN' has no version 7: its newest is 1"),
    ],
)
def test_a_layer_that_is_not_there_is_told_at_deployment(
    system: System, deploy: Deploy, name: str, tmp_path: Path, reference: str, told: str
) -> None:
    """With what to do."""
    known = f"{name}-known"
    system.run("layer", "publish", known, str(_layer(tmp_path, name, 1)))
    texts = [each.replace("NAME", name).replace("KNOWN", known) for each in (reference, told)]
    path = tmp_path / "app.py"
    path.write_text(
        f"from bucketwheel import function\n@function(layers='{texts[0]}')\n"
        "def f(event, context): ...\n"
    )

    done = system.tried("deploy", str(path))
    assert done.returncode == 1
    assert f"InvalidParameterValueException: {texts[1]}" in done.stderr


def test_a_function_and_its_layers_have_a_quota_together(
    system: System, name: str, tmp_path: Path
) -> None:
    """In Lambda's words."""
    for number in (1, 2):
        folder = tmp_path / f"layer{number}"
        folder.mkdir()
        (folder / f"zeros{number}").write_bytes(bytes(130 * MB))
        system.run("layer", "publish", f"{name}-{number}", str(folder))
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "index.sh").touch()
    (folder / "bootstrap").write_text("#!/bin/sh\n")
    (folder / "bootstrap").chmod(0o755)
    (folder / "template.yaml").write_text(
        "Resources: {F: {Type: AWS::Serverless::Function, Properties: {Runtime: provided.al2023,"
        f" FunctionName: {name}, Handler: x, Layers: [{name}-1, {name}-2]}}}}}}\n"
    )

    done = system.tried("deploy", str(folder))
    assert done.returncode == 1
    assert "Function code combined with layers exceeds the maximum allowed size of" in done.stderr
