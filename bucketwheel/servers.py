"""The servers under the system: how Redis and MinIO are started, so that nothing is open to others.

Both listen on 127.0.0.1 only; no secret is in a process's arguments.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from bucketwheel.children import Child
from bucketwheel.errors import StartError
from bucketwheel.instance import Credentials, write_private
from bucketwheel.settings import UpSettings
from broker import keys
from storage.rules import TARGET

#: What MinIO's Redis target sends, found by watching it: it may do nothing else.
_EVENT_COMMANDS = "-@all +ping +type +rpush +client|setname"


def port(wanted: int, setting: str) -> int:
    """The port wanted, if it is free; for 0, any free one.

    Raises:
        StartError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise StartError(
                f"port {wanted} cannot be used ({error.strerror}): set {setting} to another one,"
                " or to 0 for any free one"
            ) from None
        return int(probe.getsockname()[1])


def redis(data: Path, port: int, credentials: Credentials) -> Child:
    """A Redis that keeps what it is told: append-only file, no eviction."""
    program = shutil.which("redis-server")
    if program is None:
        raise StartError(
            "redis-server is not on PATH: `apt-get install redis-server`,"
            " or name a running one by BUCKETWHEEL_REDIS_URL"
        )
    folder = data / "redis"
    folder.mkdir(exist_ok=True, mode=0o700)
    configuration = folder / "redis.conf"
    write_private(configuration, _redis_configuration(folder, port, credentials))
    return Child("redis", [program, str(configuration)], dict(os.environ), data / "logs/redis.log")


def _redis_configuration(folder: Path, port: int, credentials: Credentials) -> str:
    def hashed(password: str) -> str:
        return "#" + hashlib.sha256(password.encode()).hexdigest()

    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f'dir "{folder.absolute()}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            f"user default on {hashed(credentials.redis_password)} ~* &* +@all",
            f"user events on {hashed(credentials.events_password)} ~{keys.EVENTS} {_EVENT_COMMANDS}",
            "",
        ]
    )


def minio(
    data: Path, settings: UpSettings, ports: tuple[int, int, int], credentials: Credentials
) -> Child:
    """A MinIO whose 200 to an upload means that the event is in Redis.

    `ports`: of S3, of the console, of Redis.
    """
    s3, console, redis_port = ports
    folder = data / "minio"
    folder.mkdir(exist_ok=True, mode=0o700)
    command = [
        str(_minio_program(settings)), "server", "--quiet",
        "--address", f"127.0.0.1:{s3}",
        "--console-address", f"127.0.0.1:{console}",
        str(folder),
    ]  # fmt: skip
    target = {
        "ENABLE": "on",
        "ADDRESS": f"127.0.0.1:{redis_port}",
        "FORMAT": "access",  # in lower case: another spelling passes, and sends nothing
        "KEY": keys.EVENTS,
        "USER": "events",
        "PASSWORD": credentials.events_password,
    }
    if settings.event_queue:
        target["QUEUE_DIR"] = str((data / "event-queue").absolute())
    environment = {
        **os.environ,
        "MINIO_ROOT_USER": credentials.s3_access_key,
        "MINIO_ROOT_PASSWORD": credentials.s3_secret_key,
        "MINIO_API_SYNC_EVENTS": "on",
        "MINIO_UPDATE": "off",
        **{f"MINIO_NOTIFY_REDIS_{name}_{TARGET}": value for name, value in target.items()},
    }
    return Child("minio", command, environment, data / "logs/minio.log")


def _minio_program(settings: UpSettings) -> Path:
    if settings.minio is not None:
        return settings.minio
    beside = Path(sys.executable).parent / "minio"
    found = str(beside) if beside.exists() else shutil.which("minio")
    if found is None:
        raise StartError(
            "the MinIO server is not installed: `make setup` builds it, BUCKETWHEEL_MINIO names its"
            " program, BUCKETWHEEL_S3_ENDPOINT a running one"
        )
    return Path(found)


def wait_for(what: str, ready: Callable[[], bool], child: Child | None, seconds: float) -> None:
    """Wait until it answers.

    Raises:
        StartError: it does not, or its process has ended; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        ended = child is not None and child.process is not None and child.process.poll() is not None
        if ended or time.monotonic() > deadline:
            log = f". Its log: {child.log}{child.last_lines()}" if child else ""
            raise StartError(f"{what} {'ended' if ended else 'does not answer'}{log}")
        time.sleep(0.05)


def redis_answers(url: str) -> Callable[[], bool]:
    """Whether a Redis takes our password, and has loaded its data."""

    def ask() -> bool:
        try:
            with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False

    return ask


def store_answers(endpoint: str) -> Callable[[], bool]:
    """Whether an object store is up; S3 has no call for that without rights, MinIO has."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"{endpoint.rstrip('/')}/minio/health/ready", timeout=2):
                return True
        except OSError:
            return False

    return ask
