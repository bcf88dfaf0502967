"""Deploying from a user's side: pack, upload, follow what the upload's event leads to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redis import Redis

from broker.connection import connect
from broker.counters import workers_alive
from broker.deployments import Deployments, DeploymentStep
from broker.settings import BrokerSettings
from bucketwheel.errors import DeploymentTimeout, FunctionError
from bucketwheel.instance import data_folder
from bucketwheel.package import Package, packed
from storage import client
from storage.configuration import UPLOADS, FunctionConfiguration
from storage.functions import FunctionStore
from storage.settings import StorageSettings

#: Seconds of silence after which the user is told what may be missing.
SILENCE: Final = 5.0

Tell = Callable[[str], None]


class Deploy:
    """One deployment, told step by step."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._storage = StorageSettings.read()
        self._redis: Redis = connect(BrokerSettings.read())
        self._told_of_worker = False

    def run(
        self, source: Path, environment: dict[str, str], timeout: float
    ) -> list[FunctionConfiguration]:
        """Deploy this file or folder; returns the functions as they are now active.

        Raises:
            PackingError: it cannot be packed.
            FunctionError: it was refused, with AWS's name for the reason.
            DeploymentTimeout: nothing was heard for `timeout` seconds.
            StoreUnavailable: the object store refused it or did not answer.
        """
        self._redis.ping()
        with packed(source, environment, self._tell, frozenset({data_folder()})) as package:
            files = "file" if package.files == 1 else "files"
            self._tell(f"packed {package.files:,} {files}, {_size(package.size)}")
            deployment = self._upload(package)
        last = self._follow(deployment, timeout)
        if last.state == "failed":
            self._tell("not deployed; what was deployed before goes on serving")
            raise _refusal(last)
        store = FunctionStore(self._storage)
        return [store.load(name) for name, _ in last.functions]

    def _upload(self, package: Package) -> str:
        deployment = str(uuid.uuid4())
        key = f"{UPLOADS}{deployment}.zip"
        store = FunctionStore(self._storage)
        store.prepare()
        with client.asking(f"uploading {key}"):
            client.connect(self._storage).fput_object(
                self._storage.system_bucket, key, str(package.path), "application/zip"
            )
        self._tell("uploaded")
        return deployment

    def _follow(self, deployment: str, timeout: float) -> DeploymentStep:
        """Tell each step; returns the last."""
        seen, end = 0, time.monotonic() + timeout
        while time.monotonic() < end:
            steps = Deployments(self._redis).follow(deployment, SILENCE)
            for at, step in enumerate(steps):
                if at < seen:  # told before the silence
                    continue
                seen, end = at + 1, time.monotonic() + timeout
                if step.state in ("active", "failed"):
                    return step
                self._tell(step.message)
            self._tell_what_is_missing()
        raise DeploymentTimeout(
            f"nothing was heard of deployment {deployment} for {timeout:g} s; it goes on when the"
            " system does: see `bucketwheel status` and `bucketwheel functions`"
        )

    def _tell_what_is_missing(self) -> None:
        if not self._told_of_worker and not workers_alive(self._redis):
            self._told_of_worker = True
            self._tell("no worker is alive: the deployment waits until one is started")


def _refusal(step: DeploymentStep) -> FunctionError:
    if step.fault is None:
        return FunctionError("Deployment.Failed", step.message)
    return FunctionError(step.fault.type, step.fault.message, step.fault.trace)


def _size(size: int) -> str:
    return f"{size / 1024**2:.1f} MB" if size >= 1024**2 else f"{max(1, size // 1024):,} kB"
