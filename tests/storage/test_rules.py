"""Bucket rules, on the real store: one of ours per bucket, and nobody else's is lost."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minio import Minio
from minio.commonconfig import CopySource, Tags
from minio.error import MinioException
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig
from pydantic import AnyHttpUrl, SecretStr
from redis import Redis
from urllib3.exceptions import HTTPError

from broker import keys
from bucketwheel import ports, servers
from bucketwheel.child import Child
from bucketwheel.credentials import Credentials
from bucketwheel.settings import UpSettings
from storage import client
from storage.configuration import WRITING_EVENTS, EventName, Trigger
from storage.errors import StorageError
from storage.events import parse
from storage.rules import TARGET, BucketRules, Rule
from storage.settings import StorageSettings
from tests.conftest import wait_until

WRITES = {f"s3:{event}" for event in WRITING_EVENTS}


@pytest.fixture
def rules(storage: StorageSettings, store: Minio, redis: Redis) -> Iterator[BucketRules]:
    """Rules of a store without buckets."""
    _empty(store)
    yield BucketRules(storage)
    _empty(store)


def _ready(rules: BucketRules) -> BucketRules:
    """The store answers a moment before its event targets are there."""
    wait_until(lambda: _has_target(rules), "the store has its event target")
    return rules


def _has_target(rules: BucketRules) -> bool:
    try:
        return bool(rules.target())
    except StorageError:
        return False


def _empty(store: Minio) -> None:
    for bucket in store.list_buckets():
        for each in store.list_objects(bucket.name, recursive=True, include_version=True):
            assert each.object_name is not None
            store.remove_object(bucket.name, each.object_name, version_id=each.version_id)
        store.remove_bucket(bucket.name)


def _rules(store: Minio, bucket: str) -> list[QueueConfig]:
    return store.get_bucket_notification(bucket).queue_config_list


def _events(store: Minio, bucket: str, prefix: str = "") -> set[str]:
    (rule,) = _rules(store, bucket)
    found = rule.prefix_filter_rule.value if rule.prefix_filter_rule else ""
    assert (found, rule.suffix_filter_rule) == (prefix, None)
    return set(rule.events)


def _told(redis: Redis) -> list[tuple[str, str]]:
    found: Any = redis.lrange(keys.EVENTS, 0, -1)
    return [(record.event, record.key) for each in found for record in parse(each)]


def _put(store: Minio, bucket: str, key: str) -> None:
    store.put_object(bucket, key, io.BytesIO(b"hello"), 5)


def test_a_triggers_bucket_is_made_and_tells_each_finished_write_by_name(
    rules: BucketRules, store: Minio
) -> None:
    """Whatever the suffix: the store's records do not say which rule fired."""
    rules.ensure([Trigger(bucket="photos", prefix="in/", suffixes=(".jpg",))])

    assert _events(store, "photos", "in/") == WRITES


def test_a_bucket_has_one_rule_whatever_its_triggers(rules: BucketRules, store: Minio) -> None:
    """Overlapping rules would collapse in the store; together they want the union."""
    removed: tuple[EventName, ...] = ("ObjectRemoved:Delete",)
    rules.ensure(
        [
            Trigger(bucket="photos", prefix="in/a"),
            Trigger(bucket="photos", prefix="in/ab"),
            Trigger(bucket="photos", prefix="in/b", events=removed),
            Trigger(bucket="films", events=removed),
        ]
    )

    assert _events(store, "photos", "in/") == {*WRITES, "s3:ObjectRemoved:Delete"}
    assert _events(store, "films") == {"s3:ObjectRemoved:Delete"}


@pytest.mark.parametrize("prefix", ["in/", "in", "a b+c/'d'(1)!", "x=1,y:2;@_-."])
def test_what_no_trigger_can_be_for_is_not_told(
    rules: BucketRules, store: Minio, redis: Redis, prefix: str
) -> None:
    """A function that stores its results beside what it takes them from hears nothing of them."""
    rules.ensure([Trigger(bucket="photos", prefix=prefix)])
    names = ("", "a.jpg", "sub/a.jpg", "ü ö/*?.jpg", "a/")
    keys = [f"{prefix}{name}" for name in names]
    for key in (*keys, "out/a.jpg", f"{prefix[:-1]}#", prefix[:-1].upper() + "?", f"x{prefix}y"):
        _put(store, "photos", key)

    assert [key for _, key in _told(redis)] == keys


@pytest.mark.parametrize(
    "prefix", ["a*/", "?", "ü", "a\\b", "../", "a/.", "<&>", "\x01", "a" * 1_025]
)
def test_a_prefix_that_the_store_would_not_take_as_it_is_has_all_keys_told(
    rules: BucketRules, store: Minio, prefix: str
) -> None:
    """To the store `*` is any text, and some of it would be refused."""
    rules.ensure([Trigger(bucket="photos", prefix=prefix)])

    assert _events(store, "photos") == WRITES


@given(st.lists(st.builds(Trigger, bucket=st.just("photos"), prefix=st.text("ab/.*\\"))))
def test_one_rule_tells_what_all_triggers_want(triggers: list[Trigger]) -> None:
    """Whatever they have in common of their prefixes, and also in the other order."""
    wanted = [Rule.of(each) for each in triggers]
    together = reduce(or_, wanted, Rule.of(Trigger(bucket="photos", prefix="ab/")))

    assert all(together.tells(each) for each in wanted)
    assert together == reduce(
        or_, reversed(wanted), Rule.of(Trigger(bucket="photos", prefix="ab/"))
    )
    assert all(each.prefix.startswith(together.prefix) for each in triggers)


def test_asserting_the_same_rules_again_writes_nothing(rules: BucketRules, store: Minio) -> None:
    """Every start asserts them; a bucket's configuration must not be rewritten each time."""
    trigger = Trigger(bucket="photos", prefix="in/")
    rules.ensure([trigger])
    ours = QueueConfig(
        queue=rules.target(),
        events=sorted(WRITES),
        config_id="told-apart",
        prefix_filter_rule=PrefixFilterRule("in/"),
    )
    store.set_bucket_notification("photos", NotificationConfig(queue_config_list=[ours]))

    rules.ensure([trigger])

    assert [rule.config_id for rule in _rules(store, "photos")] == ["told-apart"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"events": ["s3:ObjectCreated:*"]},
        {"events": ["s3:ObjectCreated:Put"]},
        {"events": sorted(WRITES), "prefix_filter_rule": PrefixFilterRule("in/")},
        None,
    ],
)
def test_a_rule_of_ours_that_was_changed_or_removed_is_put_right(
    rules: BucketRules, store: Minio, spoilt: dict[str, Any] | None
) -> None:
    """Somebody else's tool may have written the bucket's configuration."""
    rules.ensure([Trigger(bucket="photos")])
    left = [QueueConfig(queue=rules.target(), **spoilt)] if spoilt else []
    store.set_bucket_notification("photos", NotificationConfig(queue_config_list=left))

    rules.ensure([Trigger(bucket="photos")])

    assert _events(store, "photos") == WRITES


def test_a_bucket_without_a_trigger_tells_nothing_any_more(
    rules: BucketRules, store: Minio
) -> None:
    """The bucket itself and what is in it remain."""
    rules.ensure([Trigger(bucket="photos")])
    _put(store, "photos", "a")

    rules.ensure([Trigger(bucket="films")])

    assert _rules(store, "photos") == []
    assert [each.object_name for each in store.list_objects("photos")] == ["a"]


@contextmanager
def _another_store(
    folder: Path, redis_url: str, change: Callable[[dict[str, str]], dict[str, str]]
) -> Iterator[StorageSettings]:
    """A store whose event targets are changed."""
    credentials = Credentials.keep(folder)
    chosen = tuple(ports.choose({"S3_PORT": 0, "CONSOLE_PORT": 0}).values())
    spec = servers.minio_spec(UpSettings(), folder, (chosen[0], chosen[1]), credentials, redis_url)
    child = Child(replace(spec, environment=change(dict(spec.environment))), folder, folder)
    settings = StorageSettings(
        s3_endpoint=AnyHttpUrl(f"http://127.0.0.1:{chosen[0]}"),
        s3_access_key=credentials.s3_access_key,
        s3_secret_key=SecretStr(credentials.s3_secret_key),
    )
    child.start()
    try:
        wait_until(lambda: _answers(settings), "the other store answers")
        yield settings
    finally:
        child.stop(lambda: False)


def _answers(settings: StorageSettings) -> bool:
    try:
        client.connect(settings).list_buckets()
    except (MinioException, HTTPError):
        return False
    return True


def _with_their_target(variables: dict[str, str]) -> dict[str, str]:
    """Somebody else's Redis target beside ours."""
    ours = {name: text for name, text in variables.items() if "NOTIFY_REDIS" in name}
    theirs = {name.replace(TARGET, "THEIRS"): text for name, text in ours.items()}
    return {**variables, **theirs, "MINIO_NOTIFY_REDIS_KEY_THEIRS": "theirs"}


def _without_our_target(variables: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in variables.items() if "NOTIFY_REDIS" not in name}


def test_the_rules_of_others_are_kept(
    tmp_path: Path, redis_url: str, storage: StorageSettings
) -> None:
    """Writing a bucket's rules replaces all of them."""
    with _another_store(tmp_path, redis_url, _with_their_target) as settings:
        _check_that_theirs_are_kept(_ready(BucketRules(settings)), client.connect(settings))


def _check_that_theirs_are_kept(rules: BucketRules, store: Minio) -> None:
    foreign = rules.target().replace(TARGET, "THEIRS")
    theirs = QueueConfig(
        queue=foreign,
        events=["s3:ObjectRemoved:Delete"],
        config_id="theirs",
        prefix_filter_rule=PrefixFilterRule("theirs/"),
    )
    store.make_bucket("photos")
    store.set_bucket_notification("photos", NotificationConfig(queue_config_list=[theirs]))

    rules.ensure([Trigger(bucket="photos")])
    assert {rule.queue for rule in _rules(store, "photos")} == {foreign, rules.target()}
    rules.ensure([])
    (left,) = _rules(store, "photos")

    assert (left.config_id, left.events) == ("theirs", ["s3:ObjectRemoved:Delete"])
    assert left.prefix_filter_rule is not None
    assert left.prefix_filter_rule.value == "theirs/"


def test_a_store_that_lacks_our_target_is_refused_with_what_to_set(
    tmp_path: Path, redis_url: str, storage: StorageSettings
) -> None:
    """A rule that names a target the server does not have would drop every event silently."""
    with (
        _another_store(tmp_path, redis_url, _without_our_target) as settings,
        pytest.raises(StorageError, match="MINIO_NOTIFY_REDIS_ENABLE_BUCKETWHEEL=on"),
    ):
        BucketRules(settings).ensure([Trigger(bucket="photos")])


def test_finished_writes_are_told_and_a_tagging_is_not(
    rules: BucketRules, store: Minio, redis: Redis
) -> None:
    """A function that tags its input would call itself."""
    rules.ensure([Trigger(bucket="photos")])
    _put(store, "photos", "a")
    tags = Tags(for_object=True)
    tags["seen"] = "yes"
    store.set_object_tags("photos", "a", tags)
    store.copy_object("photos", "b", CopySource("photos", "a"))
    store.put_object("photos", "c", io.BytesIO(bytes(6 * 1024 * 1024)), -1, part_size=5 * 1024**2)
    store.remove_object("photos", "a")

    assert _told(redis) == [
        ("ObjectCreated:Put", "a"),
        ("ObjectCreated:Copy", "b"),
        ("ObjectCreated:CompleteMultipartUpload", "c"),
    ]


def test_an_answered_upload_is_in_redis_already(
    rules: BucketRules, store: Minio, redis: Redis
) -> None:
    """The promise of losing nothing rests on the store's synchronous events."""
    rules.ensure([Trigger(bucket="photos")])
    for number in range(50):
        _put(store, "photos", str(number))

        assert len(_told(redis)) == number + 1


def test_the_target_is_the_one_that_pushes_to_our_list(rules: BucketRules) -> None:
    """Its ARN is the store's to say: a region may be in it."""
    assert rules.target().startswith("arn:minio:sqs:")
    assert rules.target().endswith(":BUCKETWHEEL:redis")


def test_mending_tells_which_buckets_were_silent_and_takes_nothing_away(
    rules: BucketRules, store: Minio
) -> None:
    """A rule that is missing or says too little is mended; what more is told goes on."""
    more = Trigger(bucket="more", events=(*WRITING_EVENTS, "ObjectRemoved:Delete"))
    narrow = Trigger(bucket="narrow", prefix="in/a/", events=("ObjectRemoved:Delete",))
    rules.ensure([Trigger(bucket="photos"), Trigger(bucket="less"), more])
    store.delete_bucket_notification("photos")
    rules.ensure([Trigger(bucket="less", events=("ObjectCreated:Put",)), more, narrow])
    wanted = [Trigger(bucket=each, prefix="in/b/") for each in ("narrow", "more", "gone")]
    wanted += [Trigger(bucket=each) for each in ("photos", "less")]

    assert rules.mend(wanted) == ["less", "narrow", "photos"]
    assert rules.mend(wanted) == []
    assert _events(store, "photos") == _events(store, "less") == WRITES
    assert _events(store, "more") == {*WRITES, "s3:ObjectRemoved:Delete"}
    assert _events(store, "narrow", "in/") == {*WRITES, "s3:ObjectRemoved:Delete"}
    assert not store.bucket_exists("gone")
