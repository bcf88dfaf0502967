"""Listings: the writes below a prefix, in pages, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from minio import Minio
from minio.datatypes import Object

from storage.client import asking, connect
from storage.events import ListedObject
from storage.settings import StorageSettings

#: What a listing calls the version of an object in a bucket that is not versioned.
_NO_VERSION: Final = "null"


class Listing:
    """Lists what is stored; only a page of at most 1,000 keys is held at once."""

    def __init__(self, settings: StorageSettings) -> None:
        self._client: Minio = connect(settings)

    def buckets(self) -> set[str]:
        """The buckets there are.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        with asking("listing buckets"):
            return {bucket.name for bucket in self._client.list_buckets()}

    def writes(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        """Every object whose key begins so and comes after that key, in the order of keys.

        In a versioned bucket every version, the newest of a key first; removals are no writes.

        Raises:
            StoreUnavailable: the store refused (no such bucket, say) or did not answer.
        """
        with asking(f"listing {bucket}/{prefix}"):
            found = self._client.list_objects(
                bucket,
                prefix=prefix or None,
                recursive=True,
                start_after=after or None,
                include_version=self._is_versioned(bucket),
            )
            for each in found:
                if not each.is_delete_marker:
                    yield _listed(bucket, each)

    def _is_versioned(self, bucket: str) -> bool:
        return self._client.get_bucket_versioning(bucket).status is not None


def _listed(bucket: str, found: Object) -> ListedObject:
    version = found.version_id or ""
    return ListedObject(
        bucket=bucket,
        key=found.object_name or "",
        version_id="" if version == _NO_VERSION else version,
        size=found.size or 0,
        etag=(found.etag or "").strip('"'),
        written=found.last_modified or datetime.fromtimestamp(0, UTC),
    )
