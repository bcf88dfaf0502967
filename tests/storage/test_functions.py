"""The function store, on the real one: versions grow, packages are what they were."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from storage.configuration import FunctionConfiguration, Trigger
from storage.errors import (
    FunctionNotFound,
    PackageError,
    StoreUnavailable,
    UnreadableFunction,
)
from storage.functions import FunctionStore
from storage.settings import StorageSettings

BUCKET = "functions-under-test"


@pytest.fixture
def settings(storage: StorageSettings, store: Minio) -> Iterator[StorageSettings]:
    """Settings with a system bucket of the test's own, which is not there yet."""
    yield storage.model_copy(update={"system_bucket": BUCKET})
    for each in store.list_objects(BUCKET, recursive=True, include_version=True):
        assert each.object_name is not None
        store.remove_object(BUCKET, each.object_name, version_id=each.version_id)
    store.remove_bucket(BUCKET)


@pytest.fixture
def functions(settings: StorageSettings) -> FunctionStore:
    """An empty function store."""
    found = FunctionStore(settings)
    found.prepare()
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A file to keep: its content is nobody's business here."""
    path = tmp_path / "package.zip"
    path.write_bytes(b"PK" + bytes(range(256)) * 8_000)
    return path


def _configuration(name: str = "crop", **values: Any) -> FunctionConfiguration:
    defaults: dict[str, Any] = {
        "handler": "photos.crop",
        "code_sha256": "0" * 64,
        "deployed_at": datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC),
    }
    return FunctionConfiguration(name=name, **{**defaults, **values})


# -- the bucket ------------------------------------------------------------------------------------


def test_preparing_again_changes_nothing(functions: FunctionStore, store: Minio) -> None:
    """Every process of the platform prepares at its start."""
    functions.save(_configuration())

    functions.prepare()

    assert functions.load("crop").version == 1
    assert store.get_bucket_versioning(BUCKET).status == "Enabled"


def test_several_processes_may_prepare_at_once(settings: StorageSettings) -> None:
    """At a first start they all find no bucket, and one is the first to make it."""
    together = threading.Barrier(8)

    def prepare(functions: FunctionStore) -> None:
        together.wait(60)
        functions.prepare()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(prepare, [FunctionStore(settings) for _ in range(8)]))


# -- configurations --------------------------------------------------------------------------------


def test_a_saved_configuration_survives(
    settings: StorageSettings, functions: FunctionStore
) -> None:
    """Another process reads exactly what was saved, whatever is in it."""
    saved = functions.save(
        _configuration(
            triggers=(Trigger(bucket="photos", prefix="in/é +%\n", suffixes=(".jpg", "")),),
            writes=("thumbs/small",),
            environment={"TEXT": "é\n\"'\\", "EMPTY": ""},
            upload="18EAE9F729C8AA65",
        )
    )

    assert FunctionStore(settings).load("crop") == saved


def test_versions_grow(functions: FunctionStore) -> None:
    """Whatever the configuration says of its own version."""
    versions = [functions.save(_configuration(version=9)).version for _ in range(3)]

    assert versions == [1, 2, 3]
    assert functions.load("crop").version == 3


def test_versions_grow_on_after_a_removal(functions: FunctionStore) -> None:
    """A number that came again would be taken for the version whose environments are warm."""
    functions.save(_configuration())
    functions.save(_configuration())
    functions.remove("crop")

    assert functions.save(_configuration()).version == 3


def test_functions_with_like_names_have_versions_of_their_own(functions: FunctionStore) -> None:
    """One name may be the beginning of another."""
    functions.save(_configuration("crop-all"))
    functions.save(_configuration("crop-all"))

    assert functions.save(_configuration("crop")).version == 1


def test_an_older_upload_does_not_override_a_newer(functions: FunctionStore) -> None:
    """Deployments may be carried out late; sequencers are hexadecimal numbers, not texts."""
    newer = functions.save(_configuration(upload="10000000000000000", memory=256))

    assert functions.save(_configuration(upload="FFFFFFFFFFFFFFFF", memory=512)) == newer
    assert functions.load("crop") == newer


def test_an_upload_takes_effect_once(functions: FunctionStore) -> None:
    """Its event may be delivered again when a worker dies before the acknowledgement."""
    first = functions.save(_configuration(upload="1A"))

    assert functions.save(_configuration(upload="1a", deployed_at=datetime.now(UTC))) == first
    assert functions.save(_configuration(upload="1B")).version == 2


def test_a_function_that_is_not_deployed_is_named(functions: FunctionStore) -> None:
    """Reading and removing say the same."""
    for ask in (functions.load, functions.remove):
        with pytest.raises(FunctionNotFound, match=r"^no function 'crop' is deployed$"):
            ask("crop")


def test_a_removed_function_is_out_of_service(functions: FunctionStore) -> None:
    """Others stay."""
    functions.save(_configuration("crop"))
    functions.save(_configuration("sort"))

    functions.remove("crop")

    assert functions.all().keys() == {"sort"}
    with pytest.raises(FunctionNotFound):
        functions.load("crop")


def test_all_functions_are_found_by_name(functions: FunctionStore) -> None:
    """More than one listing has room for threads at once."""
    saved = [functions.save(_configuration(f"f{number}")) for number in range(20)]

    assert functions.all() == {each.name: each for each in saved}


def test_none_is_none(functions: FunctionStore) -> None:
    """An empty store is no error."""
    assert functions.all() == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"name": "crop", "surplus": 1}'])
def test_what_is_no_configuration_is_told_with_its_place(
    functions: FunctionStore, store: Minio, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Written by another version, or damaged: the others go on, but never silently."""
    good = functions.save(_configuration("good"))
    store.put_object(BUCKET, "functions/crop.json", io.BytesIO(content), len(content))
    told = r"/functions/crop\.json is no function config"

    with pytest.raises(UnreadableFunction, match=told):
        functions.load("crop")
    assert functions.all() == {"good": good}
    assert re.search(told, caplog.text)


def test_without_a_bucket_the_store_is_unavailable(
    settings: StorageSettings, functions: FunctionStore, store: Minio
) -> None:
    """That is no function missing: the platform has not been prepared, or its data are lost."""
    store.remove_bucket(BUCKET)

    for ask in (functions.all, lambda: functions.load("crop")):
        with pytest.raises(StoreUnavailable, match="bucket does not exist"):
            ask()
    functions.prepare()


# -- packages --------------------------------------------------------------------------------------


def test_a_package_is_kept_under_its_checksum(
    functions: FunctionStore, package: Path, tmp_path: Path
) -> None:
    """And comes back the same."""
    name = functions.put_package(package)
    functions.fetch_package(name, tmp_path / "fetched.zip")

    assert name == sha256(package.read_bytes()).hexdigest()
    assert (tmp_path / "fetched.zip").read_bytes() == package.read_bytes()


def test_a_damaged_package_is_detected(
    functions: FunctionStore, store: Minio, package: Path, tmp_path: Path
) -> None:
    """What would run is not what was deployed."""
    name = functions.put_package(package)
    store.put_object(BUCKET, f"code/{name}.zip", io.BytesIO(b"PK"), 2)

    with pytest.raises(PackageError, match=f"package {name} is damaged in the store"):
        functions.fetch_package(name, tmp_path / "fetched.zip")


def test_a_package_that_is_not_kept_is_asked_for_in_vain(
    functions: FunctionStore, tmp_path: Path
) -> None:
    """The message names it."""
    with pytest.raises(StoreUnavailable, match="fetching package " + "0" * 64):
        functions.fetch_package("0" * 64, tmp_path / "fetched.zip")


def test_an_upload_is_fetched(
    functions: FunctionStore, store: Minio, package: Path, tmp_path: Path
) -> None:
    """As it came."""
    store.fput_object(BUCKET, "deployments/one.zip", str(package))

    functions.fetch_upload("deployments/one.zip", tmp_path / "fetched.zip")

    assert (tmp_path / "fetched.zip").read_bytes() == package.read_bytes()


def test_an_upload_that_no_package_can_be_is_not_fetched(
    settings: StorageSettings, functions: FunctionStore, store: Minio, tmp_path: Path
) -> None:
    """It would fill the worker's disk before anybody looked at it."""
    store.put_object(BUCKET, "deployments/big.zip", io.BytesIO(bytes(101)), 101)

    with pytest.raises(PackageError, match="the upload has 101 bytes; at most 100"):
        FunctionStore(settings, 100).fetch_upload("deployments/big.zip", tmp_path / "fetched.zip")

    assert not (tmp_path / "fetched.zip").exists()


def test_a_function_that_cannot_be_read_can_be_deployed_again(
    functions: FunctionStore, store: Minio
) -> None:
    """As its message says to; and no number of a version comes again."""
    functions.save(_configuration("crop"))
    store.put_object(BUCKET, "functions/crop.json", io.BytesIO(b"{}"), 2)

    assert functions.save(_configuration("crop")).version == 3
    assert functions.load("crop").version == 3
