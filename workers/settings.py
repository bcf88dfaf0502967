"""Settings of the worker."""

from __future__ import annotations

import os
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
    #: Environments running at once on this host.
    concurrency: int = Field(default=8 * (os.cpu_count() or 1), ge=1, le=10_000)
    #: Seconds an environment stays warm without work.
    idle_timeout: float = Field(default=300.0, gt=0)
    #: Seconds a stopping worker waits for running invocations.
    drain_timeout: float = Field(default=30.0, ge=0)
