"""Configurations: Lambda's limits hold, and what the store would refuse is refused here first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minio.helpers import check_bucket_name
from pydantic import ValidationError

from storage.configuration import (
    ENVIRONMENT,
    UPLOADS,
    WRITING_EVENTS,
    FunctionConfiguration,
    FunctionDeclaration,
    Trigger,
    uploads,
)

VALUES: dict[str, Any] = {
    "name": "crop",
    "handler": "photos.crop",
    "code_sha256": "0" * 64,
    "deployed_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def _configuration(**values: Any) -> FunctionConfiguration:
    return FunctionConfiguration.model_validate({**VALUES, **values})


def _place(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])


def test_what_is_left_out_is_as_lambda_has_it() -> None:
    """128 MB, 3 seconds, two retries."""
    found = _configuration()

    assert (found.memory, found.timeout, found.maximum_retry_attempts) == (128, 3, 2)
    assert (found.triggers, found.writes, found.environment) == ((), None, {})


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("memory", 128, 10_240),
        ("timeout", 1, 900),
        ("ephemeral_storage", 512, 10_240),
        ("maximum_retry_attempts", 0, 2),
        ("reserved_concurrency", 0, 10_000),
        ("provisioned_concurrency", 0, 10_000),
        ("batch_window", 0, 300),
    ],
)
def test_lambdas_limits_are_ours(name: str, least: int, most: int) -> None:
    """Both ends are allowed, what is beyond them is not."""
    for value in (least, most):
        assert getattr(_configuration(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=name):
            _configuration(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "a" * 65),
        ("name", "bucketwheel:deploy"),
        ("name", "a/b"),
        ("name", "crop\n"),
        ("handler", ""),
        ("handler", "a b"),
        ("handler", "h" * 129),
        ("code_sha256", "0" * 63),
        ("code_sha256", "../" + "0" * 61),
        ("version", 0),
        ("upload", "yesterday"),
        ("surplus", 1),
        ("runtime", "python3"),
        ("runtime", "ruby3.2"),
        ("runtime", "../python3.11"),
        ("layers", [{"name": "a", "version": 0, "code_sha256": "0" * 64}]),
        ("layers", [{"name": "../a", "version": 1, "code_sha256": "0" * 64}]),
        ("layers", [{"name": "a", "version": 1, "code_sha256": "0" * 64}] * 6),
        ("triggers", [{"bucket": "photos", "events": ["ObjectCreated:*"]}]),
        ("triggers", [{"bucket": "photos", "events": []}]),
        ("triggers", [{"bucket": "photos", "surplus": 1}]),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: Any) -> None:
    """A name becomes a key, a queue and a user; a checksum becomes a folder."""
    with pytest.raises(ValidationError) as refused:
        _configuration(**{name: value})

    assert _place(refused.value).startswith(name)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"batch_size": 11}, "needs a batch window of at least 1 s"),
        ({"batch_size": 10_001, "batch_window": 1}, "batch_size"),
        ({"batch_window": 60, "maximum_event_age": 60}, "shorter than the maximum event age"),
        ({"schedules": [{"expression": "rate(1 day)"}] * 2}, "is there 2 times"),
        ({"schedules": [{"expression": "rate(1 days)"}]}, "1 goes with day"),
        ({"schedules": [{"expression": "rate(1 day)", "input": "{"}]}, "is not JSON"),
    ],
)
def test_batches_and_schedules_that_could_not_be_are_refused(
    values: dict[str, Any], reason: str
) -> None:
    """As AWS refuses them; and records that would be too old once their window is over."""
    with pytest.raises(ValidationError, match=reason):
        _configuration(**values)


def test_a_configuration_cannot_be_changed() -> None:
    """A version is immutable."""
    with pytest.raises(ValidationError, match="frozen"):
        _configuration().memory = 256


def test_a_configuration_survives_being_stored() -> None:
    """JSON out, JSON in: the same."""
    found = _configuration(
        triggers=[{"bucket": "photos", "prefix": "in/é\n", "suffixes": (".jpg",)}],
        writes=("thumbs/small",),
        environment={"A": "é\n"},
        upload="18EAE9F729C8AA65",
    )

    assert FunctionConfiguration.model_validate_json(found.model_dump_json()) == found


# -- environment variables -------------------------------------------------------------------------


def test_variables_may_fill_lambdas_quota_and_no_more() -> None:
    """4 kB, names and values together, in UTF-8."""
    most = {"A": "é" * ((ENVIRONMENT - 1) // 2) + "x"}

    assert _configuration(environment=most).environment == most
    with pytest.raises(ValidationError, match="4,097 bytes; at most 4,096"):
        _configuration(environment={**most, "A": most["A"] + "x"})


@pytest.mark.parametrize("variables", [{"1A": ""}, {"A=B": ""}, {"": ""}, {"A": "x\0y"}, {"A": 1}])
def test_variables_that_no_process_could_have_are_refused(variables: dict[str, Any]) -> None:
    """The environment would fail at each start."""
    with pytest.raises(ValidationError, match="environment"):
        _configuration(environment=variables)


# -- buckets ---------------------------------------------------------------------------------------

_names = st.text(alphabet="ab1.-_A", max_size=6) | st.sampled_from(
    ["photos", "a" * 63, "a" * 64, "192.168.0.1", "xn--photos", "a-s3alias", "a--ol-s3", "a\n"]
)


@settings(deadline=None)
@given(name=_names)
def test_no_bucket_is_let_in_that_the_client_refuses_to_make(name: str) -> None:
    """A deployment must fail with a clear message, not be tried again and again."""
    try:
        Trigger(bucket=name)
    except ValidationError:
        return
    check_bucket_name(name, strict=True, s3_check=True)


@pytest.mark.parametrize(
    "name", ["", "ab", "a..b", "a.-b", "a-.b", "-ab", "Photos", "a_b", "a/b", "10.0.0.1", "minio"]
)
def test_a_bad_bucket_is_refused_in_words(name: str) -> None:
    """The message says what a bucket's name is."""
    with pytest.raises(ValidationError, match="is no bucket's name: 3 to 63 lower-case"):
        Trigger(bucket=name)


@pytest.mark.parametrize("name", ["abc", "a.b", "a-b", "a--b", "1photos", "a" * 63])
def test_a_good_bucket_is_let_in(name: str) -> None:
    """No more is forbidden than the store forbids."""
    assert Trigger(bucket=name).bucket == name


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("thumbs", "thumbs/"), ("thumbs/", "thumbs/"), ("thumbs/small", "thumbs/small")],
)
def test_a_bucket_to_write_to_is_that_bucket_alone(pattern: str, meant: str) -> None:
    """`thumbs` must not open `thumbs-of-somebody-else`."""
    assert _configuration(writes=(pattern,)).writes == (meant,)


@pytest.mark.parametrize("pattern", ["", "*", "*/x", "/", "thumb?/x", "Thumbs/"])
def test_what_to_write_to_begins_with_one_buckets_name(pattern: str) -> None:
    """A star for the bucket would open every bucket, the system's too."""
    with pytest.raises(ValidationError, match="is no bucket's name"):
        _configuration(writes=(pattern,))


# -- triggers --------------------------------------------------------------------------------------


def test_finished_writes_are_named_one_by_one() -> None:
    """The store's own star would include tagging, with which a function would call itself."""
    assert Trigger(bucket="photos").events == WRITING_EVENTS
    assert not any("*" in event or "Tagging" in event for event in WRITING_EVENTS)


def test_uploads_of_code_are_what_the_platform_itself_is_triggered_by() -> None:
    """Zip files below the uploads' folder, and not the packages kept beside it."""
    found = uploads("bucketwheel")

    assert (found.bucket, found.prefix, found.suffixes) == ("bucketwheel", UPLOADS, (".zip",))


def test_provisioned_concurrency_is_part_of_the_reserved() -> None:
    """What is paused keeps nothing warm either."""
    assert _configuration(reserved_concurrency=2, provisioned_concurrency=2)
    with pytest.raises(ValidationError, match="1, must be at most reserved concurrency, 0"):
        _configuration(reserved_concurrency=0, provisioned_concurrency=1)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        (["a", "b:2", "a-b_C:10"], ""),
        (["a", "a:2"], "layer 'a' is named 2 times"),
        (list("abcdef"), "at most 5 items"),
        (["a:0"], "should match pattern"),
        (["a:"], "should match pattern"),
        (["../a"], "should match pattern"),
    ],
)
def test_layers_are_declared_by_name_and_version(layers: list[str], told: str) -> None:
    """One version of each, as Lambda has it."""
    values = {"name": "crop", "handler": "photos.crop", "layers": layers}
    if not told:
        assert FunctionDeclaration.model_validate(values).layers == tuple(layers)
        return
    with pytest.raises(ValidationError, match=told):
        FunctionDeclaration.model_validate(values)
