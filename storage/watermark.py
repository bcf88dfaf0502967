"""The watermark that outlives Redis: a small document in the system bucket."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Final

from minio import Minio
from minio.error import S3Error
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.client import asking, connect
from storage.settings import StorageSettings

#: Folder of the system bucket for what the platform remembers; people have no rights there.
STATE: Final = "state"
_KEY: Final = f"{STATE}/watermark.json"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    settled: datetime


class StoredWatermark:
    """The moment before which every write had been handled to its end.

    Work in flight lives in Redis; when Redis has lost its data, what was written after this moment
    is looked for anew.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._bucket = settings.system_bucket
        self._client: Minio = connect(settings)

    def load(self) -> datetime | None:
        """The moment that was saved last; None if none ever was, or it cannot be read.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        with asking("reading the watermark"):
            try:
                response = self._client.get_object(self._bucket, _KEY)
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchBucket"):
                    return None
                raise
            try:
                return _Document.model_validate_json(response.read()).settled
            except ValidationError:
                return None
            finally:
                response.close()
                response.release_conn()

    def save(self, settled: datetime) -> None:
        """Keep a moment in place of the one before: the bucket is versioned, this needs no past.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        content = _Document(settled=settled).model_dump_json().encode()
        with asking("saving the watermark"):
            saved = self._client.put_object(
                self._bucket, _KEY, io.BytesIO(content), len(content), "application/json"
            )
            listed = self._client.list_objects(self._bucket, prefix=_KEY, include_version=True)
            for each in listed:
                if each.object_name == _KEY and each.version_id != saved.version_id:
                    self._client.remove_object(self._bucket, _KEY, version_id=each.version_id)
