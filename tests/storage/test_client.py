"""The client: its calls end, and its errors say what was asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from minio import Minio
from pydantic import AnyHttpUrl, SecretStr

from storage import client
from storage.errors import StoreUnavailable
from storage.settings import StorageSettings
from tests.conftest import serving

_BUCKETS = b"""<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Buckets><Bucket><Name>photos</Name></Bucket></Buckets></ListAllMyBucketsResult>"""


class _Starting(BaseHTTPRequestHandler):
    """A store that answers the first request as MinIO does while it starts."""

    asked: list[str]

    def do_GET(self) -> None:
        """List buckets, the second time."""
        self.asked.append(self.path)
        ready = len(self.asked) > 1
        self.send_response(200 if ready else 503)
        body = _BUCKETS if ready else b""
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def starting() -> Iterator[StorageSettings]:
    """Settings of a store that is starting."""
    handler = type("Handler", (_Starting,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield _settings(server.server_port)


def _settings(port: int) -> StorageSettings:
    return StorageSettings(
        s3_endpoint=AnyHttpUrl(f"http://127.0.0.1:{port}"),
        s3_access_key="someone",
        s3_secret_key=SecretStr("hush-hush"),
    )


def test_a_store_that_is_starting_is_asked_again_at_once(starting: StorageSettings) -> None:
    """MinIO's `Retry-After` of a minute would hold up every start; this test would last an hour."""
    found = client.connect(starting).list_buckets()

    assert [bucket.name for bucket in found] == ["photos"]


def test_a_store_that_is_not_there_is_unavailable_and_the_message_says_what_was_asked() -> None:
    """The reader learns what could not be done, not only that a connection failed."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        silent = client.connect(_settings(nobody.getsockname()[1]))

        with (
            pytest.raises(StoreUnavailable, match=r"^looking around: the object store said: "),
            client.asking("looking around"),
        ):
            silent.list_buckets()


def test_a_refusal_is_told_in_the_stores_own_words(store: Minio) -> None:
    """Its XML says it best."""
    with (
        pytest.raises(StoreUnavailable, match=r"^asking: .*The specified bucket does not exist"),
        client.asking("asking"),
    ):
        store.remove_bucket("is-not-there")


def test_wrong_keys_are_a_refusal_for_both_clients(storage: StorageSettings) -> None:
    """S3 and administration have errors of their own; callers know one."""
    stranger = storage.model_copy(update={"s3_secret_key": SecretStr("x" * 40)})

    with pytest.raises(StoreUnavailable), client.asking("asking"):
        client.connect(stranger).list_buckets()
    with pytest.raises(StoreUnavailable), client.asking("asking"):
        client.administration(stranger).info()


def test_other_faults_pass_through() -> None:
    """A bug of ours must not look like a store that is away."""
    with pytest.raises(ZeroDivisionError), client.asking("asking"):
        _ = 1 // 0
