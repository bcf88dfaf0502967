"""The instance: a running system on one data folder, and how the other commands find it."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bucketwheel.errors import InstanceError
from bucketwheel.settings import DATA
from storage.settings import PREFIX

#: Who owns the data folder may read; nobody else.
PRIVATE = 0o600


class Credentials(BaseModel):
    """Random, made once per data folder."""

    model_config = ConfigDict(frozen=True)

    s3_access_key: str
    s3_secret_key: str
    user_secret_key: str
    redis_password: str
    events_password: str

    @classmethod
    def of(cls, data: Path) -> Self:
        """Those of this folder, made now if it has none.

        Raises:
            InstanceError: the file is there, but is not what we wrote.
        """
        path = data / "credentials.json"
        if not path.exists():
            made = cls(
                s3_access_key="bucketwheel-" + secrets.token_hex(6),
                s3_secret_key=secrets.token_urlsafe(30),
                user_secret_key=secrets.token_urlsafe(30),
                redis_password=secrets.token_urlsafe(30),
                events_password=secrets.token_urlsafe(30),
            )
            write_private(path, made.model_dump_json(indent=2))
        try:
            return cls.model_validate_json(path.read_text())
        except ValidationError:
            raise InstanceError(
                f"{path} is damaged: restore it, or move {data} away to begin anew"
            ) from None


class Instance(BaseModel):
    """What `bucketwheel up` writes down once everything runs."""

    pid: int
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    redis_url: str
    user_access_key: str
    user_secret_key: str
    console_url: str | None
    flower_url: str
    #: Process ids by name.
    children: dict[str, int]

    @classmethod
    def path(cls, data: Path) -> Path:
        """Where it is described."""
        return data / "instance.json"

    @classmethod
    def load(cls, data: Path) -> Self:
        """The system that runs on this folder.

        Raises:
            InstanceError: none does.
        """
        try:
            found = cls.model_validate_json(cls.path(data).read_text())
            os.kill(found.pid, 0)
        except (OSError, ValidationError):
            raise InstanceError(
                f"no system runs on {data.absolute()}: start one with `bucketwheel up`,"
                " or name its folder by --data or BUCKETWHEEL_DATA"
            ) from None
        return found

    def save(self, data: Path) -> None:
        """Describe it for the other commands."""
        write_private(self.path(data), self.model_dump_json(indent=2))

    def environment(self) -> dict[str, str]:
        """The settings by which every part of the system finds it."""
        return {
            f"{PREFIX}S3_ENDPOINT": self.s3_endpoint,
            f"{PREFIX}S3_ACCESS_KEY": self.s3_access_key,
            f"{PREFIX}S3_SECRET_KEY": self.s3_secret_key,
            f"{PREFIX}S3_REGION": self.s3_region,
            f"{PREFIX}REDIS_URL": self.redis_url,
        }


def data_folder() -> Path:
    """The data folder that the environment names."""
    return Path(os.environ.get(f"{PREFIX}DATA") or DATA)


def adopt() -> None:
    """Take from the instance what the environment does not say.

    Raises:
        InstanceError: something is missing, and no system runs on the data folder.
    """
    needed = [f"{PREFIX}{name}" for name in ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")]
    if all(name in os.environ for name in [*needed, f"{PREFIX}REDIS_URL"]):
        return
    for name, value in Instance.load(data_folder()).environment().items():
        os.environ.setdefault(name, value)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    beside.rename(path)


class Lock:
    """Held by the one system that may run on a data folder; gone with its process."""

    def __init__(self, data: Path) -> None:
        self._path = data / "lock"
        self._file: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            InstanceError: another system runs on this folder.
        """
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            folder = self._path.parent.absolute()
            raise InstanceError(
                f"a system runs on {folder} already: `bucketwheel down` stops it,"
                " another --data runs a second one"
            ) from None
