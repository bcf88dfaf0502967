"""The servers that `up` starts: Redis and MinIO, each bound to loopback, secrets off their argv."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from redis import Redis
from redis.exceptions import RedisError

from broker import keys
from bucketwheel.child import ChildSpec
from bucketwheel.credentials import Credentials, write_private
from bucketwheel.errors import StartError
from bucketwheel.settings import LOOPBACK, UpSettings
from storage.errors import BucketwheelError
from storage.rules import TARGET, BucketRules
from storage.settings import StorageSettings

#: Seconds that a server gets to end by itself.
PATIENCE: Final = 15.0

#: Who MinIO is in Redis: what its target sends, read off ACL LOG, and nothing else.
EVENTS_USER: Final = "minio"
_EVENTS_COMMANDS: Final = "+ping +client|setname +type +rpush"

Healthy = Callable[[], bool]


def redis_spec(data: Path, port: int, credentials: Credentials) -> ChildSpec:
    """Redis with its data in `<data>/redis`; its configuration is written anew at each start.

    Raises:
        StartError: it is not installed.
    """
    folder = data / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    configuration = folder / "redis.conf"
    write_private(configuration, _redis_configuration(folder, port, credentials))
    return ChildSpec(
        name="redis",
        command=(_redis_server(), str(configuration)),
        environment=dict(os.environ),
        patience=PATIENCE,
        orphaned=signal.SIGTERM,  # writes what it holds, then ends
    )


def minio_spec(
    settings: UpSettings, data: Path, ports: tuple[int, int], credentials: Credentials, redis: str
) -> ChildSpec:
    """MinIO with its data in `<data>/minio`, which pushes its events to this Redis.

    Raises:
        StartError: it is not installed.
    """
    # Without a folder of its own it would find certificates below the home folder, and speak TLS.
    certificates = data / "minio-certificates"
    certificates.mkdir(mode=0o700, exist_ok=True)
    address, console = (f"{LOOPBACK}:{port}" for port in ports)
    command = [_minio(settings), "server", "--quiet", "--certs-dir", str(certificates)]
    command += ["--address", address, "--console-address", console, str(data / "minio")]
    foreign = ("MINIO_CONFIG_ENV_FILE", "MINIO_ROOT_USER_FILE", "MINIO_ROOT_PASSWORD_FILE")
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    return ChildSpec(
        name="minio",
        command=tuple(command),
        environment={
            **inherited,
            "MINIO_ROOT_USER": credentials.s3_access_key,
            "MINIO_ROOT_PASSWORD": credentials.s3_secret_key,
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "MINIO_BROWSER": "on",
            # An upload's answer means that its event is in Redis.
            "MINIO_API_SYNC_EVENTS": "on",
            **_target(settings, data, redis),
        },
        patience=PATIENCE,
    )


def redis_healthy(url: str) -> Healthy:
    """Whether this Redis answers, and knows us."""
    client = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)

    def healthy() -> bool:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False

    return healthy


def store_healthy(settings: StorageSettings) -> Healthy:
    """Whether this object store answers, knows us, and has its event target.

    MinIO says that it is ready before the target is there: what is uploaded then is not told.
    """
    endpoint, rules = str(settings.s3_endpoint).rstrip("/"), BucketRules(settings)

    def healthy() -> bool:
        try:
            with urlopen(f"{endpoint}/minio/health/ready", timeout=2):  # noqa: S310 (a setting)
                rules.target()
        except (BucketwheelError, OSError):
            return False
        return True

    return healthy


def _redis_configuration(folder: Path, port: int, credentials: Credentials) -> str:
    events = keys.EVENTS
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        "protected-mode yes",
        f"dir {_quoted(str(folder))}",
        "daemonize no",
        'logfile ""',
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory-policy noeviction",
        f"user default on #{_sha256(credentials.redis_password)} ~* &* +@all",
        f"user {EVENTS_USER} on #{_sha256(credentials.redis_events_password)} resetkeys"
        f" ~{events} resetchannels -@all {_EVENTS_COMMANDS}",
    ]
    return "\n".join(lines) + "\n"


def events_url(port: int, credentials: Credentials) -> str:
    """Where MinIO pushes its events, and as whom."""
    return f"redis://{EVENTS_USER}:{credentials.redis_events_password}@{LOOPBACK}:{port}/0"


def _target(settings: UpSettings, data: Path, redis: str) -> dict[str, str]:
    """The event target, as MinIO's environment variables."""
    parts = urlsplit(redis)
    values = {
        "ENABLE": "on",
        "ADDRESS": f"{parts.hostname}:{parts.port or 6379}",
        "FORMAT": "access",
        "KEY": keys.EVENTS,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
    }
    if settings.event_queue:
        queue = data / "events"
        queue.mkdir(mode=0o700, exist_ok=True)
        values["QUEUE_DIR"] = str(queue)
    return {f"MINIO_NOTIFY_REDIS_{name}_{TARGET}": text for name, text in values.items() if text}


def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise StartError(
            "redis-server is not installed: install it (Debian, Ubuntu: apt-get install"
            " redis-server), or name a running one in BUCKETWHEEL_REDIS_URL"
        )
    return found


def _minio(settings: UpSettings) -> str:
    if settings.minio is not None:
        found = shutil.which(settings.minio)
        if found is None:
            raise StartError(f"BUCKETWHEEL_MINIO: {settings.minio} is no program")
        return os.path.abspath(found)
    beside = Path(sys.executable).parent / "minio"
    found = shutil.which(beside) or shutil.which("minio")
    if found is None:
        raise StartError(
            "the MinIO server is not installed: run `make setup`, set BUCKETWHEEL_MINIO to its"
            " program, or name a running one in BUCKETWHEEL_S3_ENDPOINT"
        )
    return found


def _quoted(text: str) -> str:
    """A text as Redis's configuration reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
