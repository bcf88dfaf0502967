"""Templates: one deployment of all that a template asks for; each language runs by its runtime."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from bucketwheel.testing import System
from tests.conftest import absent
from tests.system.conftest import Call, status, wait_for
from tests.system.test_deployments import _zipped

#: A function that counts words with what its layer knows, of one bucket into another.
COUNT = """
import os
import boto3
import WORDS

def handler(event, context):
    s3, record = boto3.client("s3"), event["Records"][0]["s3"]
    bucket, key = record["bucket"]["name"], record["object"]["key"]
    count = WORDS.count(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
    s3.put_object(Bucket=os.environ["COUNTS"], Key=f"{key}.count", Body=str(count).encode())

def known(event, context):
    found = boto3.client("s3").get_object(Bucket=os.environ["COUNTS"], Key=event)
    return found["Body"].read().decode()
"""

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Name: {Type: String}
Globals:
  Function:
    Runtime: python3.MINOR
    CodeUri: code/
    Timeout: 30
    MemorySize: 256
    Environment: {Variables: {COUNTS: !Ref Counts}}
Resources:
  Texts:
    Type: AWS::S3::Bucket
    Properties: {BucketName: !Sub "${Name}-texts"}
  Counts:
    Type: AWS::S3::Bucket
    Properties: {BucketName: !Sub "${Name}-counts"}
  Words:
    Type: AWS::Serverless::LayerVersion
    Properties: {LayerName: !Sub "${Name}-words", ContentUri: words/}
  Count:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${Name}-count
      Handler: count.handler
      Tracing: Active
      ReservedConcurrentExecutions: 3
      Layers: [!Ref Words]
      Policies: [S3ReadPolicy: {BucketName: !Ref Texts}, S3WritePolicy: {BucketName: !Ref Counts}]
      Events:
        Written:
          Type: S3
          Properties:
            Bucket: !Ref Texts
            Events: s3:ObjectCreated:*
            Filter: {S3Key: {Rules: [{Name: suffix, Value: .txt}]}}
        Elsewhere:
          Type: S3
          Properties: {Bucket: !Sub "${Name}-others", Events: [s3:ObjectCreated:Put]}
  Known:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${Name}-known
      Handler: count.known
      Layers: [!Ref Words]
      Policies: [S3ReadPolicy: {BucketName: !Ref Counts}]
"""


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def project(tmp_path: Path, name: str) -> Path:
    """Two functions of one code, a layer, buckets."""
    folder = tmp_path / "project"
    for path, text in {
        "template.yaml": TEMPLATE.replace("MINOR", str(sys.version_info.minor)),
        "code/count.py": COUNT.replace("WORDS", f"{name}words"),
        f"words/python/{name}words.py": "def count(text):\n    return len(text.split())\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def _deployed(system: System, folder: Path, name: str) -> str:
    return system.run("deploy", str(folder), "--parameter", f"Name={name}")


def test_a_whole_template_runs(system: System, call: Call, project: Path, name: str) -> None:
    """Triggers of several buckets, a layer, rights to read and write elsewhere."""
    printed = _deployed(system, project, name).splitlines()
    assert printed == [
        f"{name}-count version 1: {name}-texts/*.txt; {name}-others/*",
        f"{name}-known version 1: invoked by hand",
    ]
    for bucket in ("texts", "others"):
        system.s3().put_object(Bucket=f"{name}-{bucket}", Key=f"{bucket}.txt", Body=b"one two")
    wait_for(system, f"{name}-count", succeeded=2, queued=0, running=0)

    for key in ("texts.txt.count", "others.txt.count"):
        assert call(f"{name}-known", key) == "2"


def test_what_a_function_may_not_is_refused(
    system: System, call: Call, project: Path, name: str
) -> None:
    """A policy that is not in the template gives nothing."""
    text = (project / "template.yaml").read_text()
    (project / "template.yaml").write_text(
        text.replace("S3ReadPolicy: {BucketName: !Ref C", "S3WritePolicy: {BucketName: !Ref C")
    )
    _deployed(system, project, name)

    done = system.tried("invoke", f"{name}-known", "--payload", '"x"')
    assert "AccessDenied" in done.stderr


def test_a_second_deployment_makes_new_versions_of_functions_only(
    system: System, project: Path, name: str
) -> None:
    """The layer's content has not changed; `functions` tells all there is."""
    _deployed(system, project, name)
    done = system.tried("deploy", str(project), "--parameter", f"Name={name}", "--env", "A=1")

    assert f"layer {name}-words version 1" in done.stderr
    assert "Count: Tracing has no meaning here" in done.stderr
    found = {each["name"]: each for each in json.loads(system.run("functions", "--json"))}
    count = found[f"{name}-count"]
    assert (count["version"], count["reserved_concurrency"]) == (2, 3)
    assert [(each["name"], each["version"]) for each in count["layers"]] == [(f"{name}-words", 1)]
    assert count["environment"] == {"A": "1", "COUNTS": f"{name}-counts"}
    assert count["runtime"] in system.run("functions")


def test_a_shell_function_runs(system: System, call: Call, tmp_path: Path, name: str) -> None:
    """`provided.al2023`: any executable named bootstrap, here put there by make."""
    for tool in ("curl", "make"):
        if shutil.which(tool) is None:
            absent(f"{tool} is not installed: apt install {tool}")
    for path, text in {
        "template.yaml": f"""
            Resources:
              Shell:
                Type: AWS::Serverless::Function
                Metadata: {{BuildMethod: makefile}}
                Properties:
                  FunctionName: {name}
                  Runtime: provided.al2023
                  Handler: say
                  Timeout: 30
                  Environment: {{Variables: {{WORD: hello}}}}
        """,
        "Makefile": "build-Shell:\n\tinstall -m 755 main.sh $(ARTIFACTS_DIR)/bootstrap\n",
        "main.sh": """#!/bin/sh
            api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
            while true; do
                head=$(curl -sS -o /dev/null -D - "$api/next" | tr -d '\\r')
                id=$(echo "$head" | sed -n 's/^Lambda-Runtime-Aws-Request-Id: //Ip')
                curl -sS -o /dev/null -d "\\"$_HANDLER $WORD\\"" "$api/$id/response"
            done
        """,
    }.items():
        (tmp_path / path).write_text(text)

    system.run("deploy", str(tmp_path / "template.yaml"))
    assert call(name, {}) == "say hello"


#: What stands in for a function's properties; and what is said of it at deployment.
REFUSED = {
    "a handler that is not there": (
        "Runtime: python3.11, Handler: nowhere.handler",
        "InvalidParameterValueException: function 'NAME': ",
    ),
    "no bootstrap": (
        "Runtime: provided.al2023, Handler: x",
        "InvalidParameterValueException: function 'NAME': ",
    ),
    "a runtime that this host has not": (
        "Runtime: nodejs99.x, Handler: index.handler",
        "InvalidParameterValueException: function 'NAME': ",
    ),
    "a layer that is not there": (
        "Runtime: python3.11, Handler: app.handler, Layers: [not-published]",
        "InvalidParameterValueException: no layer 'not-published' is published",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_this_host_cannot_run_is_refused_at_deployment(
    system: System, tmp_path: Path, name: str, what: str
) -> None:
    """Under AWS's name; what was deployed before goes on serving."""
    properties, told = REFUSED[what]
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    (tmp_path / "template.yaml").write_text(
        "Resources: {F: {Type: AWS::Serverless::Function,"
        f" Properties: {{FunctionName: {name}, {properties}}}}}}}\n"
    )

    done = system.tried("deploy", str(tmp_path))
    assert done.returncode == 1
    assert told.replace("NAME", name) in done.stderr
    assert name not in system.run("functions")


def test_a_bad_template_is_told_before_anything_is_uploaded(
    system: System, project: Path, name: str
) -> None:
    """One line with its place; also of what does not build."""
    # Who deployed was told of the end a moment before the ledger was.
    before = wait_for(system, "bucketwheel:deploy", queued=0, running=0)
    done = system.tried("deploy", str(project))
    assert (done.returncode, done.stderr) == (
        2,
        f"bucketwheel: {project}/template.yaml: Parameters: Name: it has no default: give it with"
        " --parameter Name=...\n",
    )
    done = system.tried("deploy", str(project / "code"), "--parameter", "A=1")
    assert (done.returncode, done.stderr) == (
        2,
        f"bucketwheel: {project}/code has no parameters: only a template has\n",
    )
    (project / "code" / "requirements.txt").write_text("./is-not-there.whl\n")
    done = system.tried("deploy", str(project), "--parameter", f"Name={name}")

    assert done.returncode == 2
    assert "requirements.txt cannot be installed:\n  ERROR: " in done.stderr
    assert f"{name}-words" not in system.run("layers")
    assert status(system, "bucketwheel:deploy") == before


_FUNCTION = {"name": "f", "handler": "app.handler", "runtime": "provided"}
#: Manifests that `bucketwheel deploy` would not write; and what is said of them.
HOSTILE: dict[str, tuple[Any, str]] = {
    "of no kind": ({"environment": {}}, "it must name modules, or functions, or a layer"),
    "of two kinds": (
        {"modules": ["app"], "layer": {"name": "a"}},
        "it must name modules, or functions, or a layer",
    ),
    "of two functions of one name": (
        {"functions": [_FUNCTION, _FUNCTION]},
        "2 functions are named 'f'",
    ),
    "of a name that is a path": (
        {"functions": [{**_FUNCTION, "name": "../f"}]},
        "functions.0.name: String should match",
    ),
    "of a layer whose name is a path": ({"layer": {"name": "../a"}}, "layer.name: String should"),
    "of what is not asked for": (
        {"functions": [{**_FUNCTION, "code_sha256": "0" * 64}]},
        "functions.0.code_sha256: Extra inputs are not permitted",
    ),
    "of a runtime that nobody knows": (
        {"functions": [{**_FUNCTION, "runtime": "../bin/sh"}]},
        "functions.0.runtime: String should match",
    ),
    "of too many variables together": (
        {
            "functions": [{**_FUNCTION, "environment": {"A": "x" * 4000}}],
            "environment": {"B": "x" * 99},
        },
        "function 'f': environment: Value error, environment variables have 4,101 bytes",
    ),
    "of too many layers to import": (
        {"modules": ["app"], "layers": ["a:1"]},
        "no layer 'a' is published",
    ),
    "of lists for texts": ({"functions": [{**_FUNCTION, "handler": ["x"]}]}, "functions.0.handler"),
    "that is a list": ([], "Input should be an object"),
}


def test_hostile_manifests_are_refused_and_all_goes_on(
    system: System, call: Call, project: Path, name: str
) -> None:
    """A user may upload anything: each is refused once, and told where he can see it."""
    failed = status(system, "bucketwheel:deploy")["failed"]
    for at, (manifest, _) in enumerate(HOSTILE.values()):
        content = _zipped({"bucketwheel.json": json.dumps(manifest).encode(), "app.py": b""})
        key = f"deployments/{name}-{at}.zip"
        system.s3().put_object(Bucket="bucketwheel", Key=key, Body=content)

    _deployed(system, project, name)
    wait_for(system, "bucketwheel:deploy", queued=0, running=0, failed=failed + len(HOSTILE))
    found = system.run("logs", "bucketwheel:deploy").splitlines()
    for at, (_, told) in enumerate(HOSTILE.values()):
        assert any(
            line.startswith(f"deployment {name}-{at} failed: ") and told in line for line in found
        ), told
