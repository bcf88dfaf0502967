"""Batches of uploads: one event for many records, and an end of its own for each of them."""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from typing import Any

import pytest

from broker import keys
from bucketwheel.errors import StartError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, Deploy, logged, status, wait_for
from tests.system.notes import NOTE, listening

#: Logs the keys of each event; fails for some, names some as failed, and nobody for others.
RECORDER = """
    import json

    @function(name="NAME", bucket="BUCKET", timeout=30, maximum_retry_attempts=1, FURTHER)
    def record(event, context):
        records = event["Records"]
        found = [each["s3"]["object"]["key"] for each in records]
        print("BATCH", json.dumps(found))
        if any(each.startswith("fatal") for each in found):
            raise ValueError("fatal")
        if any(each.startswith("odd") for each in found):
            return {"batchItemFailures": [{"itemIdentifier": "nobody"}]}
        failed = [each["messageId"] for each in records
                  if each["s3"]["object"]["key"].startswith("bad")]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
"""


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"batches-{uuid.uuid4().hex[:10]}"


def _recorder(name: str, bucket: str, further: str) -> str:
    return RECORDER.replace("NAME", name).replace("BUCKET", bucket).replace("FURTHER", further)


def _put(system: System, bucket: str, *names: str) -> None:
    s3 = system.s3()
    for each in names:
        s3.put_object(Bucket=bucket, Key=each, Body=b"x")


def _batches(system: System, name: str) -> list[list[str]]:
    """Keys of each event that the function was run with."""
    found = re.findall(r"^BATCH (.*)$", logged(system, name), re.MULTILINE)
    return [json.loads(each) for each in found]


def _close(system: System, name: str) -> None:
    """Have the window of the open batch be over: tests do not wait for it."""
    batch: Any = wait_until(lambda: system.redis.get(keys.gathering(name)), "a batch is open")
    system.redis.zadd(keys.GATHERING, {batch: 0})


def test_uploads_come_together_once_there_are_enough(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """A full batch does not wait for its window, and each record counts."""
    deploy(_recorder(name, bucket, "batch_size=4, batch_window=300"))
    names = [f"k{n}" for n in range(8)]
    _put(system, bucket, *names)
    wait_for(system, name, succeeded=8)

    found = _batches(system, name)
    assert [len(each) for each in found] == [4, 4]
    assert sorted(key for each in found for key in each) == names
    assert not system.redis.exists(keys.gathering(name))


def test_what_is_too_little_waits_for_its_window(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """Until then it is shown as queued, and nothing runs."""
    deploy(_recorder(name, bucket, "batch_size=1_000, batch_window=300"))
    _put(system, bucket, "a", "b")
    wait_until(lambda: status(system, name)["queued"] == 2, "two records wait")
    assert not _batches(system, name)
    _close(system, name)
    wait_for(system, name, succeeded=2, queued=0)

    assert sorted(_batches(system, name)[0]) == ["a", "b"]


def test_records_that_the_function_names_are_retried_alone(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """`batchItemFailures`: the others are done; what fails again is a dead letter."""
    deploy(_recorder(name, bucket, "batch_size=3, batch_window=300"))
    _put(system, bucket, "good1", "bad", "good2")
    wait_for(system, name, succeeded=2, dead=1, retrying=0)

    whole, alone = _batches(system, name)
    assert sorted(whole) == ["bad", "good1", "good2"]
    assert alone == ["bad"]


@pytest.mark.parametrize("bad", ["fatal", "odd"])
def test_one_bad_record_does_not_take_its_batch_along(
    system: System, deploy: Deploy, bucket: str, name: str, bad: str
) -> None:
    """A function error has each record tried alone in the end, and so has a bad response."""
    deploy(_recorder(name, bucket, "batch_size=3, batch_window=300"))
    _put(system, bucket, "good1", bad, "good2")
    wait_for(system, name, succeeded=2, dead=1, retrying=0)

    assert sorted(_batches(system, name)[1:]) == sorted([[bad], ["good1"], ["good2"]])


def test_a_batch_survives_the_death_of_every_process(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """Neither an intake nor a worker holds anything of it that is not in the ledger too."""
    deploy(_recorder(name, bucket, "batch_size=100, batch_window=300"))
    _put(system, bucket, *(f"k{n}" for n in range(20)))
    wait_until(lambda: status(system, name)["queued"] == 20, "all records gather")
    for part, pid in system.instance.children.items():
        if part in ("intake", "worker"):
            os.kill(pid, signal.SIGKILL)
    _close(system, name)
    wait_for(system, name, succeeded=20, queued=0)

    assert sorted(_batches(system, name)[0]) == sorted(f"k{n}" for n in range(20))


def test_who_calls_by_hand_gets_the_response_as_it_is(
    deploy: Deploy, call: Call, bucket: str, name: str
) -> None:
    """Only what came from a trigger is retried by it."""
    deploy(_recorder(name, bucket, "batch_size=3, batch_window=300"))
    record = {"messageId": "x", "s3": {"object": {"key": "bad"}}}

    assert call(name, {"Records": [record]}) == {"batchItemFailures": [{"itemIdentifier": "x"}]}


STAYING = f"""
{NOTE}
    @function(name="NAME", bucket="BUCKET", timeout=60, batch_size=3, batch_window=300)
    def record(event, context):
        stay(" ".join(sorted(each["s3"]["object"]["key"] for each in event["Records"])))
"""


def test_a_batch_in_hand_comes_back_when_its_worker_dies(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """Whole, and no record is lost or counted twice."""
    with listening() as notes:
        code = STAYING.replace("NAME", name).replace("BUCKET", bucket)
        deploy(code, "--env", f"NOTES={notes.port}")
        _put(system, bucket, "a", "b", "c")
        wait_until(lambda: notes.lines.count("stay a b c") == 1, "the batch runs")
        os.kill(system.instance.children["worker"], signal.SIGKILL)
        wait_until(lambda: notes.lines.count("stay a b c") == 2, "it runs again")
        notes.gone.set()
        wait_for(system, name, succeeded=3, running=0)

    assert status(system, name)["failed"] == 0


def test_what_aws_would_refuse_is_refused_at_deployment(
    system: System, deploy: Deploy, bucket: str, name: str
) -> None:
    """A batch of more than 10 needs a window."""
    with pytest.raises(StartError) as caught:
        deploy(_recorder(name, bucket, "batch_size=11"))

    assert "batch_window of at least 1 second" in str(caught.value)
