"""Event age and destinations as they are declared: by decorator and by template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bucketwheel import function
from bucketwheel.errors import TemplateError
from bucketwheel.template.template import read
from storage.configuration import FunctionDeclaration
from storage.roles import policy

GOOD = (
    "function:next",
    "redis:ends",
    "redis:app:ends",
    "s3://reports",
    "s3://reports/a/b",
    "http://localhost:8000/x?y=z",
    "https://example.org/ends",
    "redis:" + 200 * "a",
    "s3://reports/" + 500 * "a",
    "https://" + 1_000 * "a",
)
BAD = (
    "next",
    "function:a b",
    "redis:",
    "redis:bucketwheel:events",
    "redis:function.crop",
    "redis:unacked",
    "s3://UPPER/x",
    "ftp://example.org",
    "https:///nowhere",
    "",
    "redis:ends\n",
    "redis:" + 201 * "a",
    "s3://reports/" + 501 * "a",
    "https://" + 1_001 * "a",
)


def _declared(**arguments: Any) -> Any:
    def crop(event: Any, context: Any) -> None:
        """A handler."""

    return function(**arguments)(crop).__bucketwheel__  # type: ignore[attr-defined]


@pytest.mark.parametrize("destination", GOOD)
def test_a_destination_is_taken_by_decorator_and_configuration(destination: str) -> None:
    """Both know the same forms."""
    declared = _declared(on_success=destination, on_failure=destination, maximum_event_age=90)
    kept = FunctionDeclaration(name="crop", handler="a.crop", on_success=destination)

    assert (declared.on_success, declared.on_failure) == (destination, destination)
    assert declared.maximum_event_age == 90
    assert kept.on_success == destination


@pytest.mark.parametrize("destination", BAD)
def test_what_is_no_destination_is_refused_by_both(destination: str) -> None:
    """Also the system's own lists: records must not get between messages."""
    with pytest.raises(ValueError, match="on_failure must be"):
        _declared(on_failure=destination)
    with pytest.raises(ValidationError):
        FunctionDeclaration(name="crop", handler="a.crop", on_failure=destination)


@pytest.mark.parametrize("age", [59, 21_601])
def test_an_event_age_outside_awss_limits_is_refused(age: int) -> None:
    """A minute to six hours."""
    with pytest.raises(ValueError, match="maximum_event_age must be 60 to 21,600 seconds"):
        _declared(maximum_event_age=age)


def test_the_role_may_write_where_its_records_go_and_nowhere_else() -> None:
    """PUT below the prefix, no more."""
    function = FunctionDeclaration(
        name="crop", handler="a.crop", writes=(), on_failure="s3://ends/lost/"
    )
    statements = policy(function, "bucketwheel")  # type: ignore[arg-type]

    allowed = [each for each in statements if each["Effect"] == "Allow"]
    assert [(each["Action"], each["Resource"]) for each in allowed] == [
        (["s3:PutObject"], ["arn:aws:s3:::ends/lost/*"])
    ]


def _read(tmp_path: Path, config: Any) -> FunctionDeclaration:
    properties = {
        "Runtime": "python3.11",
        "Handler": "app.handler",
        "InlineCode": "def handler(event, context): pass",
        "EventInvokeConfig": config,
    }
    other = {"Type": "AWS::Serverless::Function", "Properties": {**properties, "FunctionName": "b"}}
    del other["Properties"]["EventInvokeConfig"]  # type: ignore[attr-defined]
    crop = {"Type": "AWS::Serverless::Function", "Properties": properties}
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "reports"}}
    resources = {"Crop": crop, "Other": other, "Reports": bucket}
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump({"Resources": resources}))
    found = read(path, {}, "us-east-1")
    return next(each for each, _ in found.functions if each.name == "Crop")


def _to(kind: str, destination: Any) -> dict[str, Any]:
    return {"DestinationConfig": {"OnFailure": {"Type": kind, "Destination": destination}}}


@pytest.mark.parametrize(
    ("kind", "destination", "meant"),
    [
        ("Lambda", {"Fn::GetAtt": ["Other", "Arn"]}, "function:b"),
        ("Lambda", "arn:aws:lambda:us-east-1:123456789012:function:b:live", "function:b"),
        ("S3Bucket", {"Fn::GetAtt": ["Reports", "Arn"]}, "s3://reports"),
        ("S3", "reports", "s3://reports"),
        ("Lambda", "redis:ends", "redis:ends"),
    ],
)
def test_a_templates_destination_is_one_of_ours(
    tmp_path: Path, kind: str, destination: Any, meant: str
) -> None:
    """AWS's types that are here, and our own forms."""
    config = {"MaximumEventAgeInSeconds": 300, **_to(kind, destination)}
    declared = _read(tmp_path, config)

    assert (declared.on_failure, declared.on_success) == (meant, None)
    assert declared.maximum_event_age == 300


@pytest.mark.parametrize(
    ("kind", "destination", "instead"),
    [
        ("SQS", "arn:aws:sqs:us-east-1:123456789012:queue", "redis:LIST"),
        ("SNS", "topic", "https://"),
        ("EventBridge", "bus", "function:NAME"),
        ("Lambda", "arn:aws:sqs:us-east-1:123456789012:queue", "redis:LIST"),
    ],
)
def test_a_service_that_is_not_here_names_what_is(
    tmp_path: Path, kind: str, destination: str, instead: str
) -> None:
    """At deployment, with the place in the template."""
    with pytest.raises(TemplateError, match=instead):
        _read(tmp_path, _to(kind, destination))
