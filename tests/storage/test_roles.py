"""Roles, on the real store: a function may do what it declares, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from minio import Minio
from minio.commonconfig import CopySource, Tags
from minio.credentials.providers import StaticProvider
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig
from pydantic import SecretStr

from storage.configuration import UPLOADS, FunctionConfiguration, Trigger
from storage.errors import StoreUnavailable
from storage.roles import PERSON, SESSION, Roles
from storage.settings import StorageSettings

SYSTEM = "bucketwheel"
BUCKETS = ("photos", "photos-private", "thumbs", "thumbs-private", SYSTEM)
PERSONS_SECRET = "a person's secret key"


@pytest.fixture
def buckets(store: Minio) -> Iterator[Minio]:
    """Buckets with an object `in/a` in each, seen with the platform's rights."""
    for bucket in BUCKETS:
        if not store.bucket_exists(bucket):
            store.make_bucket(bucket)
        for key in ("in/a", "code/a", "functions/a", "deployments/a"):
            _put(store, bucket, key)
    yield store
    for bucket in BUCKETS:
        for each in store.list_objects(bucket, recursive=True, include_version=True):
            assert each.object_name is not None
            store.remove_object(bucket, each.object_name, version_id=each.version_id)
        store.remove_bucket(bucket)


@pytest.fixture
def roles(storage: StorageSettings) -> Roles:
    """Of the session's store."""
    return Roles(storage)


def _configuration(name: str = "crop", **values: Any) -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name,
        handler="photos.crop",
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
        **values,
    )


def _function(
    storage: StorageSettings, roles: Roles, configuration: FunctionConfiguration
) -> Minio:
    """A client that signs as the function does."""
    roles.grant(configuration)
    session = roles.credentials(configuration)
    provider = StaticProvider(session.access_key, session.secret_key, session.session_token)
    return _client(storage, provider)


def _client(storage: StorageSettings, provider: StaticProvider) -> Minio:
    host = f"{storage.s3_endpoint.host}:{storage.s3_endpoint.port}"
    return Minio(host, credentials=provider, secure=False, region=storage.s3_region)


def _put(client: Minio, bucket: str, key: str) -> None:
    client.put_object(bucket, key, io.BytesIO(b"hello"), 5)


def _get(client: Minio, bucket: str, key: str) -> bytes:
    response = client.get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def _list(client: Minio, bucket: str, prefix: str = "", versions: bool = False) -> list[str]:
    found = client.list_objects(bucket, prefix, include_version=versions)
    return [each.object_name or "" for each in found]


def _refused(ask: Callable[..., Any], *arguments: Any) -> None:
    with pytest.raises(S3Error) as refused:
        ask(*arguments)
    assert refused.value.code == "AccessDenied"


def _remove(client: Minio, bucket: str, key: str) -> None:
    client.remove_object(bucket, key)


PHOTOS = Trigger(bucket="photos", prefix="in/")


# -- functions -------------------------------------------------------------------------------------


def test_a_function_reads_writes_and_lists_where_it_is_triggered(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """Without a word about writing it may write there too."""
    crop = _function(storage, roles, _configuration(triggers=(PHOTOS,)))
    _put(crop, "photos", "out/a")
    tags = Tags(for_object=True)
    tags["seen"] = "yes"
    crop.set_object_tags("photos", "out/a", tags)
    crop.put_object("photos", "big", io.BytesIO(bytes(6 * 1024**2)), -1, part_size=5 * 1024**2)

    assert _get(crop, "photos", "out/a") == b"hello"
    assert "out/" in _list(crop, "photos")
    _remove(crop, "photos", "out/a")


def test_a_new_version_is_granted_beside_the_old_one_until_that_ends(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """What serves until then must go on writing."""
    old = _configuration(triggers=(PHOTOS,), writes=("photos/old/",))
    new = _configuration(triggers=(PHOTOS,), writes=("photos/new/",))
    crop = _function(storage, roles, old)
    roles.grant(new, old)
    _put(crop, "photos", "old/a")
    _put(crop, "photos", "new/a")

    roles.restrict(new)

    _put(crop, "photos", "new/a")
    _refused(_put, crop, "photos", "old/a")
    _refused(_get, crop, SYSTEM, "in/a")


@pytest.mark.parametrize("bucket", ["photos-private", "thumbs", SYSTEM])
def test_other_buckets_are_closed_to_it(
    storage: StorageSettings, roles: Roles, buckets: Minio, bucket: str
) -> None:
    """Also one whose name begins with the name of its own."""
    crop = _function(storage, roles, _configuration(triggers=(PHOTOS,)))

    _refused(_get, crop, bucket, "in/a")
    _refused(_put, crop, bucket, "in/b")
    _refused(_remove, crop, bucket, "in/a")
    _refused(_list, crop, bucket)
    _refused(crop.copy_object, "photos", "b", CopySource(bucket, "in/a"))


@pytest.mark.parametrize(
    ("pattern", "open_keys", "closed_keys"),
    [
        ("thumbs", ["a", "small/a"], []),
        ("thumbs/small", ["small/a", "small-a"], ["a", "large/a"]),
    ],
)
def test_a_function_writes_only_where_it_says(
    storage: StorageSettings,
    roles: Roles,
    buckets: Minio,
    pattern: str,
    open_keys: list[str],
    closed_keys: list[str],
) -> None:
    """Then no longer where it is triggered, nor in a bucket with a longer name."""
    crop = _function(storage, roles, _configuration(triggers=(PHOTOS,), writes=(pattern,)))
    for key in open_keys:
        _put(crop, "thumbs", key)

    assert _get(crop, "photos", "in/a") == b"hello"
    for key in closed_keys:
        _refused(_put, crop, "thumbs", key)
    _refused(_put, crop, "photos", "out/a")
    _refused(_put, crop, "thumbs-private", "a")
    _refused(_get, crop, "thumbs", "in/a")


@pytest.mark.parametrize(
    "values", [{}, {"triggers": (PHOTOS,), "writes": ()}, {"writes": ("thumbs/",)}]
)
def test_what_is_not_asked_for_is_not_granted(
    storage: StorageSettings, roles: Roles, buckets: Minio, values: dict[str, Any]
) -> None:
    """No trigger: nothing to read. Nothing to write to: nothing is written."""
    crop = _function(storage, roles, _configuration(**values))

    if "triggers" not in values:
        _refused(_get, crop, "photos", "in/a")
    _refused(_put, crop, "photos", "out/a")


def test_the_system_bucket_is_closed_even_to_who_asks_for_it(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """In it lie the code and the variables of other functions."""
    asks = _configuration(triggers=(Trigger(bucket=SYSTEM),), writes=(SYSTEM,))
    nosy = _function(storage, roles, asks)

    for folder in ("functions/", "code/", "deployments/"):
        _refused(_get, nosy, SYSTEM, f"{folder}a")
        _refused(_put, nosy, SYSTEM, f"{folder}b")
    _refused(_list, nosy, SYSTEM)


def test_a_new_version_has_the_rights_of_its_own_configuration(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """What the old one had besides is taken back, from its sessions too."""
    old = _function(storage, roles, _configuration(triggers=(PHOTOS,)))
    _put(old, "photos", "out/a")

    new = _function(storage, roles, _configuration(triggers=(PHOTOS,), writes=("thumbs",)))

    _put(new, "thumbs", "a")
    _refused(_put, old, "photos", "out/b")


@pytest.mark.parametrize("name", ["a", "a" * 64, "-", "_x", "Crop"])
def test_every_name_of_a_function_can_have_a_role(
    storage: StorageSettings, roles: Roles, buckets: Minio, name: str
) -> None:
    """The store's own limits on names are wider than Lambda's."""
    crop = _function(storage, roles, _configuration(name, triggers=(PHOTOS,)))

    assert _get(crop, "photos", "in/a") == b"hello"


def test_functions_whose_names_differ_in_case_have_roles_of_their_own(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """Names are told apart by case elsewhere too."""
    _function(storage, roles, _configuration("CROP", triggers=(PHOTOS,)))
    other = _function(storage, roles, _configuration("crop"))

    _refused(_get, other, "photos", "in/a")


# -- sessions --------------------------------------------------------------------------------------


def test_a_session_is_kept_for_a_function_and_renewed_before_it_lapses(roles: Roles) -> None:
    """A session costs milliseconds; an environment needs it for as long as it lives."""
    crop = _configuration(triggers=(PHOTOS,))
    roles.grant(crop)
    first = roles.credentials(crop)

    assert roles.credentials(crop) is first
    assert first.expires_at - datetime.now(UTC) > SESSION / 2
    soon = datetime.now(UTC) + SESSION / 2 - timedelta(seconds=1)
    roles._sessions["crop"] = replace(first, expires_at=soon)
    renewed = roles.credentials(crop)
    assert renewed.session_token != first.session_token
    assert renewed.expires_at > soon


def test_secrets_are_derived_and_stored_nowhere(
    storage: StorageSettings, roles: Roles, buckets: Minio
) -> None:
    """Another process finds the same secret, with nothing to read it from."""
    crop = _configuration(triggers=(PHOTOS,))
    roles.grant(crop)
    secret = roles._secret("crop")

    session = Roles(storage).credentials(crop)

    assert session.session_token
    assert secret not in (session.access_key, session.secret_key, session.session_token)
    assert roles._secret("sort") != secret
    for each in buckets.list_objects(SYSTEM, recursive=True):
        assert each.object_name is not None
        assert secret.encode() not in _get(buckets, SYSTEM, each.object_name)


def test_another_platform_secret_makes_other_secrets(storage: StorageSettings) -> None:
    """Who does not have ours cannot work out a function's."""
    other = storage.model_copy(update={"s3_secret_key": SecretStr("x" * 40)})

    assert Roles(other)._secret("crop") != Roles(storage)._secret("crop")


def test_a_function_without_a_role_gets_no_session(roles: Roles) -> None:
    """The store's refusal is an error that callers know."""
    with pytest.raises(StoreUnavailable, match=r"^making a session for nobody: "):
        roles.credentials(_configuration("nobody"))


# -- people ----------------------------------------------------------------------------------------


@pytest.fixture
def person(storage: StorageSettings, roles: Roles, buckets: Minio) -> Minio:
    """A client that signs as people do."""
    roles.grant_person(PERSONS_SECRET)
    return _client(storage, StaticProvider(PERSON, PERSONS_SECRET))


def test_a_person_does_as_he_likes_with_his_buckets(person: Minio) -> None:
    """Make, fill, read, empty, remove."""
    person.make_bucket("persons-own")
    _put(person, "persons-own", "a")

    assert _get(person, "persons-own", "a") == b"hello"
    assert not list(person.remove_objects("persons-own", [DeleteObject("a")]))
    person.remove_bucket("persons-own")


def test_a_person_can_upload_for_deployment(person: Minio) -> None:
    """That upload is the only way in."""
    _put(person, SYSTEM, f"{UPLOADS}mine.zip")


@pytest.mark.parametrize("key", ["code/a", "functions/a"])
def test_a_person_cannot_touch_what_the_platform_keeps(person: Minio, key: str) -> None:
    """Functions' variables may be secrets, and packages are run."""
    _refused(_get, person, SYSTEM, key)
    _refused(_put, person, SYSTEM, key)
    _refused(_remove, person, SYSTEM, key)
    _refused(person.copy_object, "photos", "stolen", CopySource(SYSTEM, key))
    _refused(person.copy_object, SYSTEM, key, CopySource("photos", "in/a"))


@pytest.mark.parametrize("prefix", ["", "functions/", "code/"])
def test_a_person_cannot_list_what_the_platform_keeps(person: Minio, prefix: str) -> None:
    """Neither objects nor their versions."""
    _refused(_list, person, SYSTEM, prefix)
    _refused(_list, person, SYSTEM, prefix, True)


def test_a_person_cannot_change_the_system_bucket(person: Minio) -> None:
    """Without its rule no deployment would ever begin."""
    public = '{"Version": "2012-10-17", "Statement": []}'

    _refused(person.set_bucket_notification, SYSTEM, NotificationConfig())
    _refused(person.set_bucket_policy, SYSTEM, public)
    _refused(person.delete_bucket_lifecycle, SYSTEM)
    _refused(person.remove_bucket, SYSTEM)


def test_a_function_called_like_the_person_is_not_the_person(
    storage: StorageSettings, roles: Roles, person: Minio
) -> None:
    """Neither gets the other's rights, nor takes the other's place."""
    namesake = _configuration(PERSON.removeprefix("bucketwheel-"), triggers=(PHOTOS,))
    function = _function(storage, roles, namesake)

    _refused(_get, function, "thumbs", "in/a")
    assert _get(person, "thumbs", "in/a") == b"hello"
