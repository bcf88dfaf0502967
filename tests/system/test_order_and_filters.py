"""Order by key and filters, from the declaration to the function."""

from __future__ import annotations

import json
import uuid
from itertools import pairwise

import pytest

from bucketwheel.errors import StartError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Deploy, logged, status, wait_for

WRITES = 8


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"f-{uuid.uuid4().hex[:10]}"


def test_writes_of_one_key_are_handled_in_their_order_and_one_at_a_time(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """A slow function gets a key's writes in a hurry: what it handles last is the newest."""
    deploy(
        f"""
        import time

        @function(name="{name}", bucket="{bucket}", order="key", timeout=30)
        def follow(event, context):
            written = event["Records"][0]["s3"]["object"]
            begun = time.monotonic()
            time.sleep(0.05)
            print("RAN", written["key"], written["size"], begun, time.monotonic())
        """
    )
    s3 = system.s3()
    for n in range(WRITES):
        s3.put_object(Bucket=bucket, Key="one", Body=b"x" * n)
        s3.put_object(Bucket=bucket, Key=f"other-{n}", Body=b"x")

    def is_done() -> bool:
        row = status(system, name)
        return bool(row["succeeded"] + row["superseded"] == 2 * WRITES)

    wait_until(is_done, "each write is handled or superseded")
    told = [line.split()[1:] for line in logged(system, name).splitlines() if "RAN" in line]
    of_one = [(int(size), begun, ended) for key, size, begun, ended in told if key == "one"]

    assert [size for size, _, _ in of_one] == sorted(size for size, _, _ in of_one)
    assert of_one[-1][0] == WRITES - 1
    assert all(float(ended) <= float(begun) for (_, _, ended), (_, begun, _) in pairwise(of_one))
    assert len(told) - len(of_one) == WRITES


def test_what_filters_refuse_is_never_run(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """Only what matches one of them is; the rest is counted."""
    deploy(
        f"""
        @function(
            name="{name}",
            bucket="{bucket}",
            filters=[
                {{"s3": {{"object": {{"size": [{{"numeric": [">", 1000]}}]}}}}}},
                '{{"s3": {{"object": {{"key": [{{"wildcard": "*/keep/*"}}]}}}}}}',
            ],
        )
        def handle(event, context):
            print("KEY", event["Records"][0]["s3"]["object"]["key"])
        """
    )
    s3 = system.s3()
    for key, size in (("small", 10), ("large", 2000), ("a/keep/b", 1)):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size)

    wait_for(system, name, succeeded=2, filtered=1)
    assert "KEY small" not in logged(system, name)
    [shown] = [
        each for each in json.loads(system.run("functions", "--json")) if each["name"] == name
    ]
    assert len(shown["filters"]) == 2


def test_a_bad_filter_is_refused_at_deployment(deploy: Deploy, bucket: str, name: str) -> None:
    """With the function, the filter, the field, and what would be right."""
    with pytest.raises(StartError) as refused:
        deploy(
            f"""
            @function(name="{name}", bucket="{bucket}", filters=[{{"s3": [{{"begins": "a"}}]}}])
            def handle(event, context): ...
            """
        )
    assert (
        f"InvalidParameterValueException: function '{name}': filter 1: s3: 'begins' is no"
        in str(refused.value)
    )
