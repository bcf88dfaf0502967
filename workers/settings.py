"""Settings of the worker."""

from __future__ import annotations

import platform
from pathlib import Path

from pydantic import Field

from storage.settings import Settings


class WorkerSettings(Settings):
    """How one host runs its execution environments."""

    #: Folder for unpacked code, environments' own /tmp, logs.
    data: Path = Path(".bucketwheel")
    #: Name of this worker; one worker per host.
    worker_name: str = Field(default=platform.node(), pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    #: Environments at work at once on this host: AWS's limit for an account.
    concurrency: int = Field(default=1_000, ge=1, le=10_000)
    #: Megabytes for all environments of this host together; without it, most of what it has.
    memory: int | None = Field(default=None, ge=128)
    #: Seconds an environment stays warm without work.
    idle_timeout: float = Field(default=300.0, gt=0)
    #: Seconds a stopping worker waits for running invocations.
    drain_timeout: float = Field(default=30.0, ge=0)
