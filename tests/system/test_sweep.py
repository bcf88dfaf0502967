"""Uploads that nobody was told of: the watch finds them, and so do sweep and replay by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.exceptions import RedisError

from broker import keys
from broker.watch_state import WatchState
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import begun, deployed, logged, stopped, wait_for

BUCKET = "swept"
CODE = """
    from urllib.parse import unquote_plus

    @function(bucket="swept", prefix="in/", timeout=30)
    def note(event, context):
        record = event["Records"][0]
        key = unquote_plus(record["s3"]["object"]["key"])
        print("RAN", key, record["responseElements"]["x-amz-request-id"])
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own, with a function that notes down its runs, and that has been at rest."""
    folder = tmp_path_factory.mktemp("swept")
    with begun(folder / "data", BUCKETWHEEL_RETRY_DELAY="0.1") as system:
        deployed(system, folder, CODE)
        wait_until(lambda: _state(system).offset is not None, "counters have been compared")
        yield system


@pytest.fixture
def prefix() -> str:
    """Beginning of the keys of one test."""
    return f"in/{uuid.uuid4().hex[:6]}/"


def _state(system: System) -> WatchState:
    return wait_until(lambda: WatchState.read(system.redis), "the watch has looked")  # type: ignore[no-any-return]


def _runs(system: System, prefix: str) -> Counter[str]:
    """How often the function was run for each key."""
    found = re.findall(r"^RAN (\S+) ", logged(system, "note"), re.MULTILINE)
    return Counter(each for each in found if each.startswith(prefix))


def _put(system: System, prefix: str, count: int) -> set[str]:
    s3, names = system.s3(), {f"{prefix}{n:03}" for n in range(count)}
    for name in sorted(names):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    return names


def _wait_for_all(system: System, prefix: str, names: set[str]) -> None:
    """Each has run, and none of them twice."""
    wait_until(lambda: _runs(system, prefix).keys() >= names, f"all of {len(names)} have run")
    wait_until(lambda: not _state(system).pending, "nothing is suspected any more")
    wait_for(system, "note", queued=0, running=0, retrying=0)
    assert set(_runs(system, prefix).values()) == {1}


@contextmanager
def _untold(system: System) -> Iterator[None]:
    """What is uploaded while this lasts is told to nobody, and the watch does not see it."""
    with stopped(system, "intake"):
        rules = system.s3().get_bucket_notification_configuration(Bucket=BUCKET)
        rules = {"QueueConfigurations": rules["QueueConfigurations"]}
        yield system.s3().put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={}
        )
        system.s3().put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration=rules
        )


def test_uploads_while_redis_is_away_are_found(swept: System, prefix: str) -> None:
    """Without a queue folder the store drops their events; each runs once all the same."""
    s3, uploaded = swept.s3(), set[str]()
    os.kill(swept.instance.children["redis"], signal.SIGKILL)
    while not _answers(swept):
        uploaded.add(f"{prefix}{len(uploaded):04}")
        s3.put_object(Bucket=BUCKET, Key=max(uploaded), Body=b"x")

    assert uploaded
    _wait_for_all(swept, prefix, uploaded)


def _answers(system: System) -> bool:
    try:
        return bool(system.redis.ping())
    except (RedisError, OSError):
        return False


def test_events_that_somebody_deletes_are_found(swept: System, prefix: str) -> None:
    """`DEL bucketwheel:events`, before an intake has taken them."""
    wait_until(lambda: _state(swept).offset is not None, "counters have been compared")
    with stopped(swept, "intake"):
        uploaded = _put(swept, prefix, 20)
        assert swept.redis.llen(keys.EVENTS) >= 19  # one for which it was waiting when stopped
        swept.redis.delete(keys.EVENTS)

    _wait_for_all(swept, prefix, uploaded)


def test_uploads_into_a_bucket_whose_rule_was_removed_are_found(swept: System, prefix: str) -> None:
    """Somebody removes its notification configuration; it is mended."""
    swept.s3().put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={})
    uploaded = _put(swept, prefix, 20)

    _wait_for_all(swept, prefix, uploaded)
    assert f"bucket {BUCKET} did not tell its writes" in _state(swept).why
    _wait_for_all(swept, f"{prefix}later/", _put(swept, f"{prefix}later/", 1))


def test_a_redis_that_loses_all_its_data_loses_no_upload(swept: System, prefix: str) -> None:
    """What was told, and was not handled yet, is found in the store; what was may run again."""
    with stopped(swept, "worker"):
        uploaded = _put(swept, prefix, 20)
        wait_for(swept, "note", queued=20)
        swept.redis.flushall()

    wait_until(lambda: _runs(swept, prefix).keys() >= uploaded, "all have run")


def test_a_sweep_by_hand_finds_what_was_not_told(swept: System, prefix: str) -> None:
    """Its dry run tells how many there are; the handler sees by whom its event was made."""
    arguments = ("sweep", BUCKET, "--prefix", prefix)
    with _untold(swept):
        uploaded = _put(swept, prefix, 5)
        # While the intake is stopped: its own watch may find them first.
        assert "5 keys seen" in (tried := swept.run(*arguments, "--dry-run"))
        assert "5 invocations would be enqueued" in tried
        assert "5 invocations enqueued" in swept.run(*arguments)

    _wait_for_all(swept, prefix, uploaded)
    assert "0 invocations enqueued" in swept.run(*arguments)
    assert f"RAN {prefix}000 bucketwheel-sweep" in logged(swept, "note")


def test_a_replay_runs_again_what_was_handled(swept: System, prefix: str) -> None:
    """Once for each replay, however often that is resumed."""
    _wait_for_all(swept, prefix, _put(swept, prefix, 5))
    arguments = ("replay", "note", "--prefix", prefix)
    assert "5 invocations would be enqueued" in swept.run(*arguments, "--dry-run")
    assert swept.tried(*arguments, input="n\n").returncode

    done = swept.tried(*arguments, "--yes")
    assert "5 invocations enqueued" in done.stdout
    [id] = re.findall(r"--resume (\w+)", done.stderr)
    assert "0 invocations enqueued" in swept.run("replay", "note", "--resume", id)
    wait_until(lambda: set(_runs(swept, prefix).values()) == {2}, "each has run again")
    assert f"RAN {prefix}000 bucketwheel-replay" in logged(swept, "note")


def test_status_tells_until_when_nothing_is_lost(swept: System, prefix: str) -> None:
    """And why the last sweep was, and what it has found."""
    with stopped(swept, "intake"):  # its watch would mend the rule, maybe before there is an upload
        swept.s3().put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={}
        )
        uploaded = _put(swept, prefix, 3)
    _wait_for_all(swept, prefix, uploaded)

    text, found = swept.run("status"), json.loads(swept.run("status", "--json"))
    assert "nothing lost    until 20" in text
    assert f"bucket {BUCKET} did not tell its writes" in text
    assert found["watch"]["found"] == 3
    assert found["watch"]["pending"] == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sweep", BUCKET, "--since", "yesterday"), "no moment"),
        (("sweep", "no-such-bucket"), "no function is triggered by writes to no-such-bucket/"),
        (("replay", "nobody", "--yes"), "no function 'nobody' is deployed"),
        (("replay", "note", "--resume", "nothing"), "no replay 'nothing' is known"),
    ],
)
def test_what_cannot_be_done_is_said(
    swept: System, arguments: tuple[str, ...], complaint: str
) -> None:
    """In one sentence, with exit status 2."""
    done: Any = swept.tried(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
