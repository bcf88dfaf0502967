"""The function store: packages and configurations, in the system bucket.

deployments/<id>.zip      uploads, as they came
code/<sha256>.zip         packages, under their own checksum: immutable
functions/<name>.json     configurations; the bucket is versioned, so that each deployment adds
                          an immutable version, and the newest is the one in force
"""

from __future__ import annotations

import hashlib
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig
from pydantic import ValidationError

from storage.client import asking, connect
from storage.configuration import UPLOADS, FunctionConfiguration
from storage.errors import (
    FunctionNotFound,
    PackageError,
    StorageError,
    UnreadableFunction,
    first_fault,
)
from storage.settings import StorageSettings

log = logging.getLogger("bucketwheel.functions")

_FUNCTIONS: Final = "functions/"
#: An upload that was deployed is kept as a package; what is left of it goes after a week.
_EXPIRY: Final = LifecycleConfig(
    [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=UPLOADS),
            rule_id="bucketwheel-uploads",
            expiration=Expiration(days=7),
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=1),
        )
    ]
)
#: AWS Lambda's quota for a zipped package, bytes.
LARGEST_UPLOAD: Final = 50 * 1024 * 1024


class FunctionStore:
    """What is deployed; the truth about it, also when Redis has lost its data."""

    def __init__(self, settings: StorageSettings, largest_upload: int = LARGEST_UPLOAD) -> None:
        self._bucket = settings.system_bucket
        self._largest_upload = largest_upload
        self._client: Minio = connect(settings)

    def prepare(self) -> None:
        """Make the system bucket, versioned; doing it again changes nothing."""
        with asking(f"making the bucket {self._bucket}"):
            if not self._client.bucket_exists(self._bucket):
                self._make_bucket()
            self._client.set_bucket_versioning(self._bucket, VersioningConfig(ENABLED))
            self._client.set_bucket_lifecycle(self._bucket, _EXPIRY)

    def fetch_upload(self, key: str, to: Path) -> None:
        """Fetch what was uploaded for deployment.

        Raises:
            PackageError: it is too large to be fetched at all.
        """
        with asking(f"fetching {key}"):
            size = self._client.stat_object(self._bucket, key).size or 0
            if size > self._largest_upload:
                most = self._largest_upload
                raise PackageError(f"the upload has {size:,} bytes; at most {most:,}")
            self._client.fget_object(self._bucket, key, str(to))

    def put_package(self, package: Path) -> str:
        """Keep a package; returns its SHA-256, which is its name."""
        sha256 = _sha256(package)
        with asking(f"keeping package {sha256}"):
            self._client.fput_object(self._bucket, _code(sha256), str(package), "application/zip")
        return sha256

    def fetch_package(self, sha256: str, to: Path) -> None:
        """Fetch a package.

        Raises:
            PackageError: what is stored is not what was kept.
        """
        with asking(f"fetching package {sha256}"):
            self._client.fget_object(self._bucket, _code(sha256), str(to))
        if _sha256(to) != sha256:
            raise PackageError(f"package {sha256} is damaged in the store: deploy it again")

    def save(self, configuration: FunctionConfiguration) -> FunctionConfiguration:
        """Keep a configuration as the function's next version; returns it with its number.

        Uploads take effect once, and in their order: what comes from the same or an older upload
        than the version in force is not kept, and the version in force is returned.
        """
        try:
            current = self.load(configuration.name)
        except (FunctionNotFound, UnreadableFunction):
            version = self._last_version(configuration.name) + 1
        else:
            if not _is_newer(configuration.upload, current.upload):
                return current
            version = current.version + 1
        saved = configuration.model_copy(update={"version": version})
        content = saved.model_dump_json(indent=2).encode()
        with asking(f"saving function {saved.name}"):
            self._client.put_object(
                self._bucket,
                _key(saved.name),
                io.BytesIO(content),
                len(content),
                "application/json",
            )
        return saved

    def load(self, name: str) -> FunctionConfiguration:
        """The version in force.

        Raises:
            FunctionNotFound: there is none.
        """
        try:
            with asking(f"reading function {name}"):
                return self._read(_key(name))
        except StorageError as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code == "NoSuchKey":
                raise FunctionNotFound(f"no function {name!r} is deployed") from None
            raise

    def all(self) -> dict[str, FunctionConfiguration]:
        """Every function's version in force, by name.

        One that cannot be read is left out with a warning: the others must go on.
        """
        with asking("listing functions"):
            listed = self._client.list_objects(self._bucket, prefix=_FUNCTIONS)
            keys = [each.object_name for each in listed if each.object_name]
            with ThreadPoolExecutor(8) as threads:
                found = list(threads.map(self._try, keys))
        return {each.name: each for each in found if each is not None}

    def remove(self, name: str) -> None:
        """Take a function out of service; its versions remain in the bucket's history."""
        self.load(name)
        with asking(f"removing function {name}"):
            self._client.remove_object(self._bucket, _key(name))

    def _make_bucket(self) -> None:
        """Make it; another process of ours may be the first to."""
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    def _last_version(self, name: str) -> int:
        """The last version of a function that has none in force; 0 if there was none.

        Its number must not come again: environments of that version may still be warm. One that
        cannot be read counts as one more than the version before it.
        """
        key, unreadable = _key(name), 0
        with asking(f"reading the versions of function {name}"):
            listed = self._client.list_objects(self._bucket, prefix=key, include_version=True)
            for each in listed:  # the newest first
                if each.object_name == key and not each.is_delete_marker:
                    found = self._try(key, each.version_id)
                    if found is not None:
                        return found.version + unreadable
                    unreadable += 1
        return unreadable

    def _try(self, key: str, version_id: str | None = None) -> FunctionConfiguration | None:
        try:
            return self._read(key, version_id)
        except UnreadableFunction as error:
            log.warning("left out: %s", error)
            return None

    def _read(self, key: str, version_id: str | None = None) -> FunctionConfiguration:
        response = self._client.get_object(self._bucket, key, version_id=version_id)
        try:
            return FunctionConfiguration.model_validate_json(response.read())
        except ValidationError as error:
            raise UnreadableFunction(
                f"{self._bucket}/{key} is no function configuration: {first_fault(error)};"
                " deploy the function again"
            ) from None
        finally:
            response.close()
            response.release_conn()


def _key(name: str) -> str:
    return f"{_FUNCTIONS}{name}.json"


def _code(sha256: str) -> str:
    return f"code/{sha256}.zip"


def _is_newer(upload: str, than: str) -> bool:
    """Whether one upload is newer than another; what comes from none is always new."""
    return not upload or int(upload, 16) > int(than or "0", 16)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
