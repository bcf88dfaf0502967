"""The instance: the running system of a folder, as described in a file there."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bucketwheel.credentials import write_private
from bucketwheel.errors import InstanceError

_FILE: Final = "instance.json"
_LOCK: Final = "up.lock"


class Instance(BaseModel):
    """What other programs need to reach a running system."""

    model_config = ConfigDict(frozen=True)

    pid: int
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    redis_url: str
    user_access_key: str
    user_secret_key: str
    console_url: str | None = None
    flower_url: str | None = None
    #: Process ids by name.
    children: dict[str, int] = {}
    #: Whether all parts have been started.
    ready: bool = False

    @classmethod
    def find(cls) -> Self:
        """The one that runs on `BUCKETWHEEL_DATA`, or on `.bucketwheel` here.

        Raises:
            InstanceError: none does.
        """
        return cls.read(data_folder())

    @classmethod
    def read(cls, data: Path) -> Self:
        """The one that runs on this folder.

        Raises:
            InstanceError: none does.
        """
        try:
            instance = cls.model_validate_json((data / _FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            raise _none(data) from None
        except PermissionError:
            raise InstanceError(f"{data / _FILE} belongs to another user") from None
        if holder(data) != instance.pid:  # of another that was killed
            raise _none(data)
        return instance

    def write(self, data: Path) -> None:
        """Describe it in the folder, for its owner alone."""
        write_private(data / _FILE, self.model_dump_json(indent=2) + "\n")

    def settings(self) -> dict[str, str]:
        """The settings by which a process belongs to it, by their variables' names."""
        names = ("s3_endpoint", "s3_access_key", "s3_secret_key", "s3_region", "redis_url")
        found: dict[str, str] = {
            f"BUCKETWHEEL_{each.upper()}": getattr(self, each) for each in names
        }
        if self.flower_url is not None:
            found["BUCKETWHEEL_FLOWER_PORT"] = self.flower_url.rsplit(":", 1)[1]
        return found


def data_folder() -> Path:
    """The folder that the settings name."""
    return Path(os.environ.get("BUCKETWHEEL_DATA") or ".bucketwheel").absolute()


def fill_environment() -> None:
    """Take the settings that are missing here from the instance, if any is.

    Raises:
        InstanceError: some are missing, and no system runs.
    """
    needed = ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_URL")
    if not all(f"BUCKETWHEEL_{name}" in os.environ for name in needed):
        for name, value in Instance.find().settings().items():
            os.environ.setdefault(name, value)


def remove(data: Path) -> None:
    """Say that no system runs here any more."""
    (data / _FILE).unlink(missing_ok=True)


@contextmanager
def holding(data: Path) -> Iterator[None]:
    """Hold the folder: nobody else can start a system on it.

    The lock is the kernel's: it ends with the process, however that ends.

    Raises:
        InstanceError: a system runs on it already.
    """
    with (data / _LOCK).open("a+") as file:
        if not _lock(file.fileno(), patience=1.0):
            pid = (data / _LOCK).read_text().strip() or "unknown"
            raise InstanceError(
                f"a system already runs on {data} (process {pid}): `bucketwheel down` stops it"
            )
        remove(data)  # of one that was killed: nobody must take it for this one
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_running(data: Path) -> bool:
    """Whether somebody holds the folder."""
    try:
        file = (data / _LOCK).open()
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(data: Path) -> int | None:
    """Process id of the one that holds the folder."""
    if not is_running(data):
        return None
    text = (data / _LOCK).read_text().strip()
    return int(text) if text.isdigit() else None


def _lock(descriptor: int, patience: float) -> bool:
    """Take the lock; wait a moment, since a look at it (`is_running`) holds it for an instant."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True


def _none(data: Path) -> InstanceError:
    return InstanceError(
        f"no system runs on {data}: start one with `bucketwheel up`, or name its folder with"
        " --data or BUCKETWHEEL_DATA"
    )
