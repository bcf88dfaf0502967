"""Real servers for tests: one Redis and one MinIO a session, on free loopback ports.

Who lacks a server is told how to get it: at home its tests are skipped, in CI they fail.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseServer
from threading import Thread
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from minio import Minio
from pydantic import AnyHttpUrl, SecretStr
from redis import Redis

from broker.settings import BrokerSettings
from bucketwheel import ports, servers
from bucketwheel.child import Child, ChildSpec
from bucketwheel.credentials import Credentials
from bucketwheel.errors import StartError
from bucketwheel.settings import UpSettings
from storage import client
from storage.settings import StorageSettings

# Slowness is no fault either: not of one example, not of finding it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

#: Seconds in which a condition must come true; generous, since machines are shared.
DEADLINE = 60.0


def wait_until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait until a condition is true, and return what it returned."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"after {deadline:g} s still not: {what}")
        time.sleep(0.01)
    return found


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Serve in a thread for as long as this lasts.

    A thread that outlived its server would go on polling a descriptor that is somebody else's by
    then, and keep that one's file open.
    """
    thread = Thread(target=server.serve_forever, daemon=True)
    with server:
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Settings of whoever runs the tests must not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith(("BUCKETWHEEL_", "AWS_"))]:
            if name != "BUCKETWHEEL_MINIO":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What runs in the background has SIGINT ignored, and so has all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def _ports() -> dict[str, int]:
    return ports.choose({"S3_PORT": 0, "CONSOLE_PORT": 0, "REDIS_PORT": 0})


@pytest.fixture(scope="session")
def _credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials.keep(tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="session")
def redis_url(
    tmp_path_factory: pytest.TempPathFactory, _ports: dict[str, int], _credentials: Credentials
) -> Iterator[str]:
    """URL of the session's Redis, set up as `bucketwheel up` does."""
    folder, port = tmp_path_factory.mktemp("redis"), _ports["REDIS_PORT"]
    url = f"redis://:{_credentials.redis_password}@127.0.0.1:{port}/0"
    make = lambda: servers.redis_spec(folder, port, _credentials)  # noqa: E731
    with _Server(make, folder, servers.redis_healthy(url)):
        with Redis.from_url(url) as found:  # a slow disk would be taken for an absence of Redis
            found.config_set("appendfsync", "no")
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of an empty Redis."""
    with Redis.from_url(redis_url) as found:
        found.flushall()
        yield found


@pytest.fixture
def broker(redis: Redis, redis_url: str) -> BrokerSettings:
    """Settings of an empty broker."""
    return BrokerSettings(redis_url=SecretStr(redis_url))


@pytest.fixture(scope="session")
def storage(
    tmp_path_factory: pytest.TempPathFactory,
    _ports: dict[str, int],
    _credentials: Credentials,
    redis_url: str,
) -> Iterator[StorageSettings]:
    """Settings of the session's MinIO, which pushes its events to the session's Redis."""
    folder = tmp_path_factory.mktemp("minio")
    both = (_ports["S3_PORT"], _ports["CONSOLE_PORT"])
    events = servers.events_url(_ports["REDIS_PORT"], _credentials)
    found = StorageSettings(
        s3_endpoint=AnyHttpUrl(f"http://127.0.0.1:{both[0]}"),
        s3_access_key=_credentials.s3_access_key,
        s3_secret_key=SecretStr(_credentials.s3_secret_key),
    )
    make = lambda: servers.minio_spec(UpSettings(), folder, both, _credentials, events)  # noqa: E731
    with _Server(make, folder, servers.store_healthy(found)):
        yield found


@pytest.fixture
def store(storage: StorageSettings) -> Minio:
    """A client of the session's MinIO with the platform's rights."""
    return client.connect(storage)


class _Server:
    """A server for as long as this lasts."""

    def __init__(
        self, make: Callable[[], ChildSpec], folder: Path, healthy: servers.Healthy
    ) -> None:
        try:
            self._child = Child(make(), folder, folder)
        except StartError as error:
            absent(str(error))
        self._healthy = healthy

    def __enter__(self) -> None:
        self._child.start()
        try:
            wait_until(self._healthy, f"{self._child.name} answers")
        except BaseException:
            self._child.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self._child.stop(lambda: False)


def absent(why: str) -> NoReturn:
    """Skip a test at home, fail it in CI; the reason says how to get what is missing."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
