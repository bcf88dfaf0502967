"""Writing to the object store with a function's own rights, for the platform's own deeds."""

from __future__ import annotations

import io

from minio import Minio

from storage.client import address, asking, http
from storage.configuration import FunctionConfiguration
from storage.roles import Roles
from storage.settings import StorageSettings


class RoleClient:
    """Writes as a function would: where its role may not write, this may not either."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._roles = Roles(settings)
        self._http = http()

    def put_json(
        self, configuration: FunctionConfiguration, bucket: str, key: str, content: bytes
    ) -> None:
        """Write a JSON document.

        Raises:
            StoreUnavailable: the store refused or did not answer.
        """
        with asking(f"writing {bucket}/{key}"):
            self._client(configuration).put_object(
                bucket, key, io.BytesIO(content), len(content), content_type="application/json"
            )

    def _client(self, configuration: FunctionConfiguration) -> Minio:
        credentials = self._roles.credentials(configuration)
        host, secure = address(self._settings)
        return Minio(
            host,
            credentials.access_key,
            credentials.secret_key,
            credentials.session_token,
            secure=secure,
            region=self._settings.s3_region,
            http_client=self._http,
        )
