"""The function store: packages and configurations, in the system bucket.

deployments/<id>.zip      uploads, as they came
code/<sha256>.zip         packages, under their own checksum: immutable
functions/<name>.json     configurations: storage/documents.py
layers/<name>.json        layers: storage/layers.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

from storage.client import asking, connect
from storage.configuration import UPLOADS, FunctionConfiguration
from storage.documents import Documents
from storage.errors import FunctionNotFound, PackageError, UnreadableFunction
from storage.settings import StorageSettings

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
        self._documents = Documents(self._client, self._bucket, "function", FunctionConfiguration)

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
            # The last number must not come again: environments of that version may still be warm.
            version = self._documents.last_number(configuration.name) + 1
        else:
            if not is_newer(configuration.upload, current.upload):
                return current
            version = current.version + 1
        saved = configuration.model_copy(update={"version": version})
        self._documents.save(saved)
        return saved

    def load(self, name: str) -> FunctionConfiguration:
        """The version in force.

        Raises:
            FunctionNotFound: there is none.
            UnreadableFunction: it is not of the known shape.
        """
        found = self._documents.load(name)
        if found is None:
            raise FunctionNotFound(f"no function {name!r} is deployed")
        return found

    def all(self) -> dict[str, FunctionConfiguration]:
        """Every function's version in force, by name; what cannot be read is left out."""
        return {each.name: each for each in self._documents.all()}

    def remove(self, name: str) -> None:
        """Take a function out of service; its versions remain in the bucket's history.

        Raises: as `load`.
        """
        self.load(name)
        self._documents.remove(name)

    def _make_bucket(self) -> None:
        """Make it; another process of ours may be the first to."""
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise


def _code(sha256: str) -> str:
    return f"code/{sha256}.zip"


def is_newer(upload: str, than: str) -> bool:
    """Whether one upload is newer than another; what comes from none is always new."""
    return not upload or int(upload, 16) > int(than or "0", 16)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
