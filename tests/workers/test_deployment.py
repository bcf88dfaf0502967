"""Deployment, on the real store: whatever it is stopped at, functions are told of their uploads."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import S3Error
from redis import Redis

from broker import keys
from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import FunctionConfiguration
from storage.errors import StoreUnavailable
from storage.functions import FunctionStore
from storage.roles import Roles
from storage.settings import StorageSettings
from workers.deployment import Deployer
from workers.packages import Packages

OWN, PHOTOS = "deployment-own", "deployment-photos"


@dataclass(frozen=True)
class Deployment:
    """Uploads of a function `crop`, each handed to the deployer when the test says so."""

    deployer: Deployer
    functions: FunctionStore
    roles: Roles
    store: Minio
    endpoint: str
    folder: Path

    def uploaded(self, prefix: str, sequencer: str) -> Invocation:
        """The event of an upload whose `crop` runs for keys with this prefix, and writes there."""
        crop = {
            "name": "crop",
            "handler": "app.run",
            "triggers": [{"bucket": PHOTOS, "prefix": prefix}],
            "writes": [f"{PHOTOS}/{prefix}"],
        }
        manifest = {"functions": [crop]}
        path, key = self.folder / "package.zip", f"deployments/{sequencer}.zip"
        with ZipFile(path, "w") as package:
            package.writestr("bucketwheel.json", json.dumps(manifest))
            package.writestr("app.py", "def run(event, context): pass")
        self.store.fput_object(OWN, key, str(path))
        event = {"Records": [{"s3": {"object": {"key": key, "sequencer": sequencer}}}]}
        return Invocation(sequencer, keys.DEPLOY, json.dumps(event).encode(), 1)

    def told_prefix(self) -> str:
        """What the bucket's rule tells of."""
        (rule,) = self.store.get_bucket_notification(PHOTOS).queue_config_list
        return str(rule.prefix_filter_rule.value) if rule.prefix_filter_rule else ""

    def may_write(self, key: str) -> bool:
        """Whether the version in force may."""
        session = self.roles.credentials(self.functions.load("crop"))
        provider = StaticProvider(session.access_key, session.secret_key, session.session_token)
        theirs = Minio(self.endpoint, credentials=provider, secure=False)
        try:
            theirs.put_object(PHOTOS, key, io.BytesIO(b"x"), 1)
        except S3Error as error:
            assert error.code == "AccessDenied"
            return False
        return True


@pytest.fixture
def deployment(
    storage: StorageSettings, store: Minio, redis: Redis, tmp_path: Path
) -> Iterator[Deployment]:
    """A deployer with a system bucket and a bucket of photos of its own."""
    settings = storage.model_copy(update={"system_bucket": OWN})
    functions, roles = FunctionStore(settings), Roles(settings)
    functions.prepare()
    packages = Packages(tmp_path / "packages", functions.fetch_package)
    deployer = Deployer(redis, settings, functions, roles, packages)
    deployer.serve(_no_trial, lambda: None)
    endpoint = f"{storage.s3_endpoint.host}:{storage.s3_endpoint.port}"
    yield Deployment(deployer, functions, roles, store, endpoint, tmp_path)
    for bucket in (OWN, PHOTOS):
        for each in store.list_objects(bucket, recursive=True, include_version=True):
            assert each.object_name is not None
            store.remove_object(bucket, each.object_name, version_id=each.version_id)
        store.remove_bucket(bucket)


def _no_trial(configuration: FunctionConfiguration, event: bytes) -> Outcome:
    raise AssertionError("what a manifest declares is not tried")


def test_a_deployment_that_fails_takes_nothing_from_who_serves(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version in force has its uploads told and its rights until the next one is saved."""
    deployer = deployment.deployer
    assert deployer.deploy(deployment.uploaded("old/", "1A")) is None
    assert deployment.told_prefix() == "old/"

    def refused(configuration: FunctionConfiguration) -> FunctionConfiguration:
        raise StoreUnavailable("saving function crop: no answer")

    with monkeypatch.context() as patch:
        patch.setattr(deployment.functions, "save", refused)
        next_one = deployment.uploaded("new/", "1B")
        fault = deployer.deploy(next_one)
        assert isinstance(fault, FunctionFault)
        assert "old/".startswith(deployment.told_prefix())
        assert deployment.may_write("old/a")

    assert deployer.deploy(next_one) is None
    assert deployment.told_prefix() == "new/"
    assert deployment.may_write("new/a")
    assert not deployment.may_write("old/a")


def test_an_upload_that_comes_late_changes_nothing(deployment: Deployment) -> None:
    """Neither the rule nor the rights of the version in force, which is newer."""
    deployer = deployment.deployer
    late = deployment.uploaded("old/", "1A")
    assert deployer.deploy(deployment.uploaded("new/", "1B")) is None

    assert deployer.deploy(late) is None

    assert deployment.told_prefix() == "new/"
    assert deployment.may_write("new/a")
    assert not deployment.may_write("old/a")
