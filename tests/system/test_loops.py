"""Loops: a chain of functions that feed one another ends; one that comes to its end passes."""

from __future__ import annotations

import json
import shutil
import textwrap
import uuid
from pathlib import Path
from typing import Any

import pytest

from broker import keys
from broker.lineage import MOST
from bucketwheel.testing import System
from tests.conftest import absent
from tests.system.conftest import Deploy, logged, wait_for

_LANGUAGES = Path(__file__).parent.parent / "conformance"

#: Functions that write what triggers them; NAME and BUCKET are filled in.
BOTO3 = """
    import boto3

    @function(name="NAME", bucket="BUCKET", memory=256, timeout=30)
    def loop(event, context):
        boto3.client("s3").put_object(Bucket="BUCKET", Key="again", Body=context.aws_request_id)
"""
#: Its user agent does not name the environment.
MINIO = """
    import io, os
    from minio import Minio
    from minio.credentials import EnvAWSProvider

    @function(name="NAME", bucket="BUCKET", memory=256, timeout=30)
    def loop(event, context):
        host = os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
        client = Minio(endpoint=host, credentials=EnvAWSProvider(), secure=False)
        text = context.aws_request_id.encode()
        client.put_object(
            bucket_name="BUCKET", object_name="again", data=io.BytesIO(text), length=len(text)
        )
"""
#: What every language does for the conformance suite; a key without `in/` it copies onto itself.
TEMPLATE = """
Resources:
  Loop:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: NAME
      Runtime: RUNTIME
      Handler: app.handler
      CodeUri: CODE
      MemorySize: 256
      Timeout: 30
      Events:
        Uploaded: {Type: S3, Properties: {Bucket: BUCKET, Events: "s3:ObjectCreated:*"}}
"""
#: A step of a chain: it hands each object on to the next folder.
STEP = """
    @function(name="NAME-FROM", bucket="BUCKET", prefix="FROM/", memory=256, timeout=30)
    def FROM(event, context):
        key = event["Records"][0]["s3"]["object"]["key"].replace("FROM/", "TO/")
        boto3.client("s3").put_object(Bucket="BUCKET", Key=key, Body=b"x")
"""


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"loop-{uuid.uuid4().hex[:10]}"


def _filled(text: str, **words: str) -> str:
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text


def _letters(system: System, name: str) -> list[dict[str, Any]]:
    """The dead letters of functions whose names begin so."""
    found: Any = system.redis.hvals(keys.DEAD)
    letters = [json.loads(each) for each in found]
    return [each for each in letters if each["function"].startswith(name)]


def _check_end(system: System, name: str) -> None:
    """It ran as often as it may, and its dead letter names the chain."""
    wait_for(system, name, succeeded=MOST, dead=1, recursive_dropped=1, queued=0, running=0)
    [letter] = _letters(system, name)
    fault = letter["fault"]
    assert fault["type"] == "RecursiveInvocationException"
    assert f"in a loop after {MOST} invocations" in fault["message"]
    assert len(fault["trace"]) == MOST
    assert {step.split()[0] for step in fault["trace"]} == {name}
    last = fault["trace"][-1].split()[1]
    assert f"RequestId: {last}" in logged(system, name)


@pytest.mark.parametrize("code", [BOTO3, MINIO], ids=["boto3", "minio-py"])
def test_a_function_that_feeds_itself_stops(
    system: System, deploy: Deploy, bucket: str, name: str, code: str
) -> None:
    """Also when its client tells nothing: the store knows its user."""
    deploy(_filled(code, NAME=name, BUCKET=bucket))
    system.s3().put_object(Bucket=bucket, Key="first", Body=b"x")

    _check_end(system, name)


@pytest.mark.parametrize(
    ("language", "runtime", "builder"),
    [("nodejs", "nodejs20.x", "npm"), ("go", "provided.al2023", "go")],
)
def test_a_loop_stops_in_other_languages(
    system: System,
    tmp_path: Path,
    bucket: str,
    name: str,
    language: str,
    runtime: str,
    builder: str,
) -> None:
    """AWS's SDKs for JavaScript and for Go name their environment as well."""
    if shutil.which(builder) is None:
        absent(f"{builder} is not installed: Node.js: https://nodejs.org, Go: https://go.dev/dl")
    code = str(_LANGUAGES / language)
    words = {"NAME": name, "RUNTIME": runtime, "CODE": code, "BUCKET": bucket}
    (tmp_path / "template.yaml").write_text(_filled(TEMPLATE, **words))
    system.run("deploy", str(tmp_path))
    system.s3().put_object(Bucket=bucket, Key="first", Body=b"x")

    _check_end(system, name)


def _steps(name: str, bucket: str, *hops: tuple[str, str]) -> str:
    steps = (_filled(STEP, NAME=name, BUCKET=bucket, FROM=here, TO=to) for here, to in hops)
    return "import boto3\n" + "".join(textwrap.dedent(each) for each in steps)


def test_two_functions_that_feed_each_other_stop(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """The dead letter names both."""
    deploy(_steps(name, bucket, ("ping", "pong"), ("pong", "ping")))
    system.s3().put_object(Bucket=bucket, Key="ping/a", Body=b"x")

    wait_for(system, f"{name}-ping", succeeded=MOST // 2, dead=1)
    # What pong writes last ends the chain while it has still to return.
    wait_for(system, f"{name}-pong", succeeded=MOST // 2, queued=0, running=0)
    [letter] = _letters(system, name)
    named = {step.split()[0] for step in letter["fault"]["trace"]}
    assert named == {f"{name}-ping", f"{name}-pong"}


def test_a_chain_over_three_functions_passes(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """However many objects go through it at once."""
    deploy(_steps(name, bucket, ("one", "two"), ("two", "three"), ("three", "end")))
    for n in range(30):
        system.s3().put_object(Bucket=bucket, Key=f"one/{n}", Body=b"x")

    for step in ("one", "two", "three"):
        wait_for(system, f"{name}-{step}", succeeded=30, dead=0)
    assert not _letters(system, name)


def test_a_function_may_meet_its_own_trigger_on_purpose(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """Objects that take a few rounds each, side by side, are told apart by their environments."""
    deploy(
        f"""
        import boto3

        @function(name="{name}", bucket="{bucket}", memory=256, timeout=30)
        def count_down(event, context):
            key = event["Records"][0]["s3"]["object"]["key"]
            which, left = key.split("/")
            if int(left):
                again = f"{{which}}/{{int(left) - 1}}"
                boto3.client("s3").put_object(Bucket="{bucket}", Key=again, Body=b"x")
        """
    )
    for n in range(30):
        system.s3().put_object(Bucket=bucket, Key=f"{n}/3", Body=b"x")

    wait_for(system, name, succeeded=120, dead=0)
    assert not _letters(system, name)
