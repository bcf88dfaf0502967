"""Event records: whatever the store tells, read strictly; what a handler gets is AWS's shape."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import quote_plus, unquote_plus

import pytest
import urllib3
from aws_lambda_powertools.utilities.parser.models import S3Model
from hypothesis import given, settings
from hypothesis import strategies as st
from minio import Minio
from minio.commonconfig import Tags
from redis import Redis

from broker import keys
from storage.configuration import EventName, Trigger
from storage.errors import EventFormatError
from storage.events import EventRecord, ListedObject, parse
from storage.rules import BucketRules
from storage.settings import StorageSettings

#: A record as MinIO's Redis target sends it, read off the list.
RECORD: dict[str, Any] = {
    "eventVersion": "2.0",
    "eventSource": "minio:s3",
    "awsRegion": "",
    "eventTime": "2026-11-24T07:17:29.231Z",
    "eventName": "s3:ObjectCreated:Put",
    "userIdentity": {"principalId": "bucketwheel-user"},
    "requestParameters": {
        "principalId": "bucketwheel-user",
        "region": "",
        "sourceIPAddress": "127.0.0.1",
    },
    "responseElements": {
        "x-amz-id-2": "cf76e63b",
        "x-amz-request-id": "18EAE9F729B97F75",
        "x-minio-deployment-id": "6acdbae0",
    },
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "Config",
        "bucket": {
            "name": "photos",
            "ownerIdentity": {"principalId": "bucketwheel-user"},
            "arn": "arn:aws:s3:::photos",
        },
        "object": {
            "key": "in%2Fa+b.jpg",
            "size": 5,
            "eTag": "5d41402abc4b2a76b9719d911017c592",
            "contentType": "image/jpeg",
            "versionId": "b1a2",
            "sequencer": "18EAE9F729C8AA65",
        },
    },
    "source": {"host": "127.0.0.1", "port": "", "userAgent": "Boto3/1.40 app/3f2a"},
}

#: Characters that an S3 key may hold and that somebody's encoding may trip over.
NASTY = (
    "a b",
    "a+b",
    "100%",
    "%2F",
    "%41",
    "a/b/c",
    "a/",
    "é",
    "e\u0301",
    "\U0001f4f7",
    "a\\b",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "\x01\x1f",
    "?x=1#y",
    "&<>\"'",
    "~!*()",
    "\u202e",
    "a" * 200 + "/" + "é/" * 274 + "z",
)


def _with(path: str, value: Any) -> dict[str, Any]:
    """The record with one part set to another value."""
    changed: dict[str, Any] = json.loads(json.dumps(RECORD))
    *way, last = path.split(".")
    part = changed
    for name in way:
        part = part[name]
    part[last] = value
    return changed


def _without(path: str) -> dict[str, Any]:
    """The record without one part."""
    changed = _with(path, None)
    *way, last = path.split(".")
    part = changed
    for name in way:
        part = part[name]
    del part[last]
    return changed


def _told(*records: Any) -> bytes:
    """As the Redis target wraps records."""
    return json.dumps([{"Event": list(records), "EventTime": "2026-11-24T07:17:29Z"}]).encode()


def _one(record: Any) -> EventRecord:
    (found,) = parse(_told(record))
    return found


def _aws(record: EventRecord) -> dict[str, Any]:
    (found,) = json.loads(record.aws_event("eu-central-1"))["Records"]
    assert isinstance(found, dict)
    return found


# -- reading ---------------------------------------------------------------------------------------


def test_everything_a_record_tells_is_read() -> None:
    """No field of ours is filled from the wrong place."""
    found = _one(RECORD)

    assert (found.bucket, found.key, found.event) == ("photos", "in/a b.jpg", "ObjectCreated:Put")
    assert (found.size, found.etag) == (5, "5d41402abc4b2a76b9719d911017c592")
    assert (found.version_id, found.sequencer) == ("b1a2", "18EAE9F729C8AA65")
    assert (found.principal, found.user_agent) == ("bucketwheel-user", "Boto3/1.40 app/3f2a")
    assert found.request_id == "18EAE9F729B97F75"


def test_a_webhooks_shape_says_the_same() -> None:
    """The store may be another one that tells by HTTP."""
    webhook = {"EventName": "s3:ObjectCreated:Put", "Key": "photos/in/a b.jpg", "Records": [RECORD]}

    assert parse(json.dumps(webhook).encode()) == parse(_told(RECORD))


def test_several_records_of_one_notification_are_all_read_in_their_order() -> None:
    """None may hide behind the first."""
    told = _told(RECORD, _with("s3.object.key", "second"))

    assert [each.key for each in parse(told)] == ["in/a b.jpg", "second"]


@pytest.mark.parametrize("told", [b"[]", b'{"Records": []}', b'[{"Event": []}]'])
def test_a_notification_of_nothing_is_no_record(told: bytes) -> None:
    """An empty list is a known shape."""
    assert parse(told) == ()


@settings(deadline=None)
@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024))
def test_every_key_is_read_as_it_was_written(key: str) -> None:
    """MinIO sends Go's QueryEscape of the key."""
    assert _one(_with("s3.object.key", quote_plus(key, safe=""))).key == key


@pytest.mark.parametrize(
    "part",
    ["eventTime", "userIdentity", "requestParameters", "responseElements", "source"]
    + ["s3.configurationId", "s3.bucket.ownerIdentity"]
    + [f"s3.object.{name}" for name in ("size", "eTag", "versionId", "sequencer")],
)
def test_parts_that_only_describe_may_be_missing(part: str) -> None:
    """Stores leave out what they do not know: a removal has no size."""
    assert _one(_without(part)).key == "in/a b.jpg"


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [b"", b"{", b"\xff", b"[" * 5_000, b'["\\ud800"]', b"NaN", b"[1e999]", b'{"Records": [}'],
)
def test_what_is_no_json_is_refused(told: bytes) -> None:
    """Somebody else may write into the list."""
    with pytest.raises(EventFormatError, match="is not JSON"):
        parse(told)


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (b"null", "its top"),
        (b"1", "its top"),
        (b'"text"', "its top"),
        (b"{}", "Records"),
        (b'{"Records": {}}', "Records"),
        (b"[1]", "0"),
        (b"[{}]", "0.Event"),
        (b'[{"Event": null}]', "0.Event"),
        (b'[{"Event": [null]}]', "0.Event.0"),
        (b'{"Records": [{"eventName": "x"}]}', "Records.0.s3"),
    ],
)
def test_an_unknown_shape_is_refused_and_the_message_says_where(told: bytes, place: str) -> None:
    """Who reads the dead letter must find the fault."""
    with pytest.raises(EventFormatError, match=f"known shape: at {place}: "):
        parse(told)


@pytest.mark.parametrize(
    "part", ["eventName", "s3", "s3.bucket", "s3.bucket.name", "s3.object", "s3.object.key"]
)
@pytest.mark.parametrize("change", [_without, lambda part: _with(part, "")])
def test_a_missing_or_empty_part_is_named(part: str, change: Any) -> None:
    """Without these there is nothing to run a function for."""
    with pytest.raises(EventFormatError, match=rf"at 0\.Event\.0\.{part}: "):
        parse(_told(change(part)))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("s3.object.size", -1),
        ("s3.object.size", 1.5),
        ("s3.object.size", 2**63),
        ("s3.object.size", "9" * 30),
        ("s3.object.sequencer", "not hexadecimal"),
        ("s3.object.sequencer", 7),
        ("s3.object.key", ["a"]),
        ("userIdentity", None),
    ],
)
def test_a_part_of_the_wrong_kind_is_named(part: str, value: Any) -> None:
    """What is let in here must not fail later, when a handler's event is made of it."""
    with pytest.raises(EventFormatError, match=rf"at 0\.Event\.0\.{part}"):
        parse(_told(_with(part, value)))


@pytest.mark.parametrize("key", ["%ff", "a%C3", "%ED%A0%80"])
def test_a_key_that_is_no_utf_8_is_refused_and_shown(key: str) -> None:
    """No handler could name such an object."""
    with pytest.raises(EventFormatError, match=f"key is not UTF-8: {key}"):
        parse(_told(_with("s3.object.key", key)))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(part=st.sampled_from(["", "s3", "s3.object", "s3.object.size", "source"]), value=_json)
def test_any_json_is_either_read_whole_or_refused(part: str, value: Any) -> None:
    """An intake that fails in any other way would fail again on the same event, for ever."""
    told = _told(_with(part, value) if part else value)
    try:
        found = parse(told)
    except EventFormatError:
        return
    for each in found:
        json.loads(each.aws_event("x"))


# -- identity --------------------------------------------------------------------------------------


def test_the_same_event_told_twice_has_one_identity() -> None:
    """What describes the telling is no part of what happened."""
    again = _with("source.userAgent", "other")

    assert _one(RECORD).identity == _one(again).identity


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("s3.bucket.name", "other"),
        ("s3.object.key", "other"),
        ("s3.object.versionId", "other"),
        ("s3.object.sequencer", "18EAE9F729D7ECA5"),  # a millisecond later
        ("s3.object.eTag", "other"),
        ("eventName", "s3:ObjectRemoved:Delete"),
    ],
)
def test_another_event_has_another_identity(part: str, value: str) -> None:
    """An upload taken for a replay would be lost."""
    assert _one(RECORD).identity != _one(_with(part, value)).identity


def test_a_write_is_known_by_what_a_listing_tells_of_it() -> None:
    """Its bucket, key, version, time to the millisecond, and tag; so that a sweep can know it."""
    listed = ListedObject(
        bucket="photos",
        key="in/a b.jpg",
        version_id="b1a2",
        size=5,
        etag="5d41402abc4b2a76b9719d911017c592",
        written=datetime.fromtimestamp(0x18EAE9F729C8AA65 // 1_000_000 / 1_000, UTC),
    )
    copied = _with("eventName", "s3:ObjectCreated:Copy")

    assert listed.record("test").identity == _one(RECORD).identity == _one(copied).identity


def test_a_sequencer_that_is_no_time_is_taken_whole() -> None:
    """Of another store's, nothing is known but that it tells writes apart."""
    first, second = _with("eventSource", "aws:s3"), _with("eventSource", "aws:s3")
    second["s3"]["object"]["sequencer"] = "18EAE9F729C8AA66"

    assert _one(first).written is None
    assert _one(first).identity != _one(second).identity


@pytest.mark.parametrize("event", ["ObjectRemoved:Delete", "ObjectCreated:Put"])
def test_without_a_sequencer_of_its_own_the_request_tells_events_apart(event: str) -> None:
    """Two writes of one key through a store that sends no sequencer are two events."""
    first = _without("s3.object.sequencer")
    first["eventName"] = event
    second = json.loads(json.dumps(first))
    second["responseElements"]["x-amz-request-id"] = "18EAE9F72D97A1E9"

    assert _one(first).identity != _one(second).identity


# -- what a handler gets ---------------------------------------------------------------------------


def test_a_handlers_event_is_awss() -> None:
    """Each value stands where AWS's notification structure has it."""
    assert _aws(_one(RECORD)) == {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-11-24T07:17:29.231Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "bucketwheel-user"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {
            "x-amz-request-id": "18EAE9F729B97F75",
            "x-amz-id-2": "cf76e63b",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": "photos",
                "ownerIdentity": {"principalId": "bucketwheel-user"},
                "arn": "arn:aws:s3:::photos",
            },
            "object": {
                "key": "in/a+b.jpg",
                "size": 5,
                "eTag": "5d41402abc4b2a76b9719d911017c592",
                "versionId": "b1a2",
                "sequencer": "18EAE9F729C8AA65",
            },
        },
    }


def test_a_removals_event_has_neither_size_nor_etag() -> None:
    """As AWS's has; there is no object to measure."""
    found = _aws(_one(_with("eventName", "s3:ObjectRemoved:Delete")))

    assert found["eventName"] == "ObjectRemoved:Delete"
    assert found["s3"]["object"].keys() == {"key", "versionId", "sequencer"}


def test_an_unversioned_buckets_event_has_no_version() -> None:
    """As AWS's has: the key is absent, not empty."""
    assert "versionId" not in _aws(_one(_without("s3.object.versionId")))["s3"]["object"]


@settings(deadline=None)
@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024))
def test_a_handler_decodes_the_key_as_aws_tells_it_to(key: str) -> None:
    """`unquote_plus` gives the key back; what is sent is ASCII with `/` kept, no space."""
    sent = _aws(_one(_with("s3.object.key", quote_plus(key, safe=""))))["s3"]["object"]["key"]

    assert unquote_plus(sent) == key
    assert sent.isascii() and sent.isprintable() and " " not in sent
    assert sent.count("/") == key.count("/") and "%2F" not in sent


@pytest.mark.parametrize("event", get_args(EventName))
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "[::1]", "[2001:db8::7]"])
def test_the_models_of_powertools_accept_our_events(event: str, address: str) -> None:
    """A judge from outside; MinIO puts IPv6 addresses into brackets, AWS does not."""
    record = _with("requestParameters.sourceIPAddress", address)
    record["eventName"] = f"s3:{event}"

    judged = S3Model.model_validate_json(_one(record).aws_event("us-east-1"))

    assert judged.Records[0].eventName == event


# -- the contract with the real store --------------------------------------------------------------


@pytest.fixture
def told(storage: StorageSettings, store: Minio, redis: Redis) -> Iterator[Redis]:
    """A bucket that tells everything, and the Redis it is told to."""
    trigger = Trigger(bucket="told", events=get_args(EventName))
    BucketRules(storage).ensure([trigger])
    redis.delete(keys.EVENTS)
    yield redis
    BucketRules(storage).ensure([])
    for key in (*NASTY, "a"):  # by name: a listing cannot say each of them
        store.remove_object("told", key)
    store.remove_bucket("told")


def _events(redis: Redis) -> list[EventRecord]:
    found: Any = redis.lrange(keys.EVENTS, 0, -1)
    return [record for each in found for record in parse(each)]


def test_the_store_tells_every_key_so_that_it_can_be_read(store: Minio, told: Redis) -> None:
    """The keys that parse() gives are the ones the objects were written under."""
    for key in NASTY:
        store.put_object("told", key, io.BytesIO(b"hello"), 5)

    assert [each.key for each in _events(told)] == list(NASTY)


def test_the_stores_events_are_accepted_by_the_models_of_powertools(
    store: Minio, told: Redis
) -> None:
    """From the wire to the judge, whatever the event."""
    store.put_object("told", "a b", io.BytesIO(b"hello"), 5)
    store.remove_object("told", "a b")

    judged = [S3Model.model_validate_json(e.aws_event("us-east-1")) for e in _events(told)]

    objects = [each.Records[0].s3.object for each in judged]
    assert [each and each.key for each in objects] == ["a+b", "a+b"]
    assert [e.event for e in _events(told)] == ["ObjectCreated:Put", "ObjectRemoved:Delete"]


def test_the_stores_events_for_an_ipv6_client_are_accepted_too(store: Minio, told: Redis) -> None:
    """The client's address comes from the proxy in front."""
    url = store.presigned_put_object("told", "a")
    urllib3.request("PUT", url, body=b"", headers={"X-Forwarded-For": "2001:db8::7"})

    (event,) = _events(told)

    judged = S3Model.model_validate_json(event.aws_event("us-east-1")).Records[0]
    assert str(judged.requestParameters.sourceIPAddress) == "2001:db8::7/128"


def test_two_writes_of_one_key_are_two_events_and_a_tagging_is_none(
    store: Minio, told: Redis
) -> None:
    """A function that tags its input must not call itself, and an overwrite counts."""
    store.put_object("told", "a", io.BytesIO(b"1"), 1)
    tags = Tags(for_object=True)
    tags["seen"] = "yes"
    store.set_object_tags("told", "a", tags)
    store.put_object("told", "a", io.BytesIO(b"1"), 1)

    first, second = _events(told)

    assert first.identity != second.identity
    assert int(first.sequencer, 16) < int(second.sequencer, 16)
