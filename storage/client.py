"""The client of the object store, and what its errors become."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException
from urllib3.exceptions import HTTPError

from storage.errors import StoreUnavailable
from storage.settings import StorageSettings


def connect(settings: StorageSettings) -> Minio:
    """A client with the platform's own rights, whose calls end when the store is silent."""
    host, secure = address(settings)
    return Minio(
        host,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=secure,
        region=settings.s3_region,
        http_client=http(),
    )


def administration(settings: StorageSettings) -> MinioAdmin:
    """A client of the store's administration: users, policies, targets."""
    host, secure = address(settings)
    secret = settings.s3_secret_key.get_secret_value()
    return MinioAdmin(
        endpoint=host,
        credentials=StaticProvider(settings.s3_access_key, secret),
        region=settings.s3_region,
        secure=secure,
        http_client=http(),
    )


def http() -> urllib3.PoolManager:
    """Connections whose calls end when the store is silent."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=3.0, read=60.0),
        maxsize=8,
        # A store that is starting asks for a minute's wait (Retry-After), and is there in a second.
        retries=urllib3.Retry(
            total=3,
            backoff_factor=0.2,
            status_forcelist=[500, 502, 503, 504],
            respect_retry_after_header=False,
        ),
    )


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the client's and the network's errors into one that says what was asked.

    Raises:
        StoreUnavailable: the store refused or did not answer.
    """
    try:
        yield
    except (MinioException, MinioAdminException, HTTPError, OSError, ValueError) as error:
        # ValueError: the client's word for a refused session, or a name it does not let through.
        reason = getattr(error, "message", None) or str(error)
        raise StoreUnavailable(f"{what}: the object store said: {reason}") from error


def address(settings: StorageSettings) -> tuple[str, bool]:
    """Host with port, and whether it speaks TLS."""
    parts = urlsplit(str(settings.s3_endpoint))
    return parts.netloc, parts.scheme == "https"
