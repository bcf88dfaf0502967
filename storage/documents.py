"""Documents in the system bucket: each a name's configuration, as JSON of one model.

The bucket is versioned, so that each save adds an immutable version, and the newest is the one in
force.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from minio import Minio
from minio.error import S3Error
from pydantic import ValidationError

from storage.client import asking
from storage.configuration import FunctionConfiguration, LayerConfiguration
from storage.errors import StorageError, UnreadableFunction, first_fault

log = logging.getLogger("bucketwheel.functions")


D = TypeVar("D", FunctionConfiguration, LayerConfiguration)


class Documents(Generic[D]):
    """All documents of one kind: `function` or `layer`; its folder has the name in the plural."""

    def __init__(self, client: Minio, bucket: str, kind: str, model: type[D]) -> None:
        self._client = client
        self._bucket = bucket
        self._kind = kind
        self._model: type[D] = model

    def load(self, name: str) -> D | None:
        """The version in force, if there is one.

        Raises:
            UnreadableFunction: it is not of the known shape.
        """
        try:
            with asking(f"reading {self._kind} {name}"):
                return self._read(self._key(name))
        except StorageError as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code == "NoSuchKey":
                return None
            raise

    def all(self) -> list[D]:
        """Every version in force.

        One that cannot be read is left out with a warning: the others must go on.
        """
        with asking(f"listing {self._kind}s"):
            listed = self._client.list_objects(self._bucket, prefix=f"{self._kind}s/")
            keys = [each.object_name for each in listed if each.object_name]
            with ThreadPoolExecutor(8) as threads:
                found = list(threads.map(self._try, keys))
        return [each for each in found if each is not None]

    def save(self, document: D) -> None:
        """Add a version, which is in force from then on."""
        content = document.model_dump_json(indent=2).encode()
        key = self._key(document.name)
        with asking(f"saving {self._kind} {document.name}"):
            self._client.put_object(
                self._bucket, key, io.BytesIO(content), len(content), "application/json"
            )

    def remove(self, name: str) -> None:
        """Take it out of force; its versions remain in the bucket's history."""
        with asking(f"removing {self._kind} {name}"):
            self._client.remove_object(self._bucket, self._key(name))

    def versions(self, name: str) -> Iterator[D | None]:
        """All that were ever saved, the newest first; None stands for one that cannot be read."""
        key = self._key(name)
        with asking(f"reading the versions of {self._kind} {name}"):
            listed = self._client.list_objects(self._bucket, prefix=key, include_version=True)
            for each in listed:
                if each.object_name == key and not each.is_delete_marker:
                    yield self._try(key, each.version_id)

    def last_number(self, name: str) -> int:
        """The number of the last version that was ever saved; 0 if there was none.

        One that cannot be read counts as one more than the version before it.
        """
        unreadable = 0
        for found in self.versions(name):
            if found is not None:
                return found.version + unreadable
            unreadable += 1
        return unreadable

    def _key(self, name: str) -> str:
        return f"{self._kind}s/{name}.json"

    def _try(self, key: str, version_id: str | None = None) -> D | None:
        try:
            return self._read(key, version_id)
        except UnreadableFunction as error:
            log.warning("left out: %s", error)
            return None

    def _read(self, key: str, version_id: str | None = None) -> D:
        response = self._client.get_object(self._bucket, key, version_id=version_id)
        try:
            found: D = self._model.model_validate_json(response.read())
            return found
        except ValidationError as error:
            raise UnreadableFunction(
                f"{self._bucket}/{key} is no {self._kind} configuration: {first_fault(error)};"
                f" deploy the {self._kind} again"
            ) from None
        finally:
            response.close()
            response.release_conn()
