"""Listings of the real store: what they tell of a write is what its event tells."""

from __future__ import annotations

import io
import uuid
from typing import Any

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, CopySource
from minio.versioningconfig import SUSPENDED, VersioningConfig
from redis import Redis

from broker import keys
from storage.configuration import Trigger
from storage.errors import StoreUnavailable
from storage.events import EventRecord, parse
from storage.listing import Listing
from storage.rules import BucketRules
from storage.settings import StorageSettings

KEYS = ["a b+c.jpg", "ü/ß €.png", "deep/er/k&y=1?.txt", "q\"uote'", "100%25"]


@pytest.fixture
def bucket(storage: StorageSettings, store: Minio, redis: Redis) -> str:
    """A bucket that tells of writes."""
    name = f"list-{uuid.uuid4().hex[:10]}"
    store.make_bucket(name)
    BucketRules(storage).mend([Trigger(bucket=name)])
    return name


def _put(store: Minio, bucket: str, key: str, size: int = 1) -> None:
    store.put_object(bucket, key, io.BytesIO(bytes(size)), size, part_size=5 * 1024 * 1024)


def _told(redis: Redis, bucket: str) -> list[EventRecord]:
    """The records that the store has told of a bucket."""
    raw: Any = redis.lrange(keys.EVENTS, 0, -1)
    return [each for one in raw for each in parse(one) if each.bucket == bucket]


def _listed(storage: StorageSettings, bucket: str) -> list[EventRecord]:
    return [each.record("test") for each in Listing(storage).writes(bucket)]


@pytest.mark.parametrize("versioning", [None, ENABLED, SUSPENDED])
def test_a_listed_object_has_the_identity_of_its_event(
    storage: StorageSettings, store: Minio, redis: Redis, bucket: str, versioning: str | None
) -> None:
    """However it was written, whatever its key, with versions and without."""
    if versioning:
        store.set_bucket_versioning(bucket, VersioningConfig(versioning))
    for key in KEYS:
        _put(store, bucket, key)
    store.copy_object(bucket, "copy", CopySource(bucket, KEYS[0]))
    _put(store, bucket, "in parts", size=6 * 1024 * 1024)

    told = {each.key: each.identity for each in _told(redis, bucket)}
    assert len(told) == len(KEYS) + 2
    assert {each.key: each.identity for each in _listed(storage, bucket)} == told


def test_every_version_is_a_write_and_a_removal_is_none(
    storage: StorageSettings, store: Minio, redis: Redis, bucket: str
) -> None:
    """In a versioned bucket what was overwritten or removed is still listed."""
    store.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    for _ in range(3):
        _put(store, bucket, "same")
    store.remove_object(bucket, "same")

    told = {each.identity for each in _told(redis, bucket)}
    assert len(told) == 3
    assert {each.identity for each in _listed(storage, bucket)} == told


def test_a_second_write_has_another_identity(
    storage: StorageSettings, store: Minio, redis: Redis, bucket: str
) -> None:
    """Also of the same bytes under the same key; only the last of them is listed."""
    for _ in range(2):
        _put(store, bucket, "same")

    first, second = [each.identity for each in _told(redis, bucket)]
    assert first != second
    assert [each.identity for each in _listed(storage, bucket)] == [second]


def test_a_listed_objects_event_is_awss_as_far_as_is_known(
    storage: StorageSettings, store: Minio, redis: Redis, bucket: str
) -> None:
    """Name, key, size and tag as in its own event; the request's id says who has found it."""
    _put(store, bucket, KEYS[0], size=5)

    [told], [listed] = _told(redis, bucket), _listed(storage, bucket)
    own, made = told.aws_record("eu"), listed.aws_record("eu")
    assert made["responseElements"]["x-amz-request-id"] == "test"
    assert made["s3"]["object"].pop("sequencer")[:8] == own["s3"]["object"].pop("sequencer")[:8]
    unknown = ("responseElements", "userIdentity", "requestParameters", "eventTime")
    owner = {"bucket": {**own["s3"]["bucket"], "ownerIdentity": {"principalId": ""}}}
    expected = {**own, "s3": {**own["s3"], **owner}}
    assert made.keys() == own.keys()
    assert {k: v for k, v in made.items() if k not in unknown} == {
        k: v for k, v in expected.items() if k not in unknown
    }


def test_a_listing_goes_on_after_a_key(storage: StorageSettings, store: Minio, bucket: str) -> None:
    """In the order of keys, below its prefix only."""
    for key in ("a", "in/a", "in/b", "in/c", "inn"):
        _put(store, bucket, key)

    listing = Listing(storage)
    assert [each.key for each in listing.writes(bucket, "in/")] == ["in/a", "in/b", "in/c"]
    assert [each.key for each in listing.writes(bucket, "in/", "in/a")] == ["in/b", "in/c"]
    assert bucket in listing.buckets()


def test_a_bucket_that_is_gone_is_said_so(storage: StorageSettings) -> None:
    """The error names it."""
    with pytest.raises(StoreUnavailable, match="no-such-bucket"):
        list(Listing(storage).writes("no-such-bucket"))
