"""Deploying from a user's side: pack, upload, follow what the upload's event leads to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from redis import Redis

from broker.connection import connect
from broker.deployments import Deployments, DeploymentStep
from broker.liveness import workers_alive
from broker.settings import BrokerSettings
from bucketwheel.errors import DeploymentTimeout, FunctionError, PackingError
from bucketwheel.instance import data_folder
from bucketwheel.package import Package, packed
from bucketwheel.template import packing, template
from storage import client
from storage.configuration import UPLOADS, FunctionConfiguration, LayerConfiguration
from storage.functions import FunctionStore
from storage.layers import LayerStore
from storage.settings import StorageSettings
from workers.manifest import LayerDeclaration

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
        self,
        source: Path,
        environment: dict[str, str],
        timeout: float,
        parameters: Mapping[str, str] | None = None,
    ) -> list[FunctionConfiguration]:
        """Deploy a file, a folder or a template; returns the functions as they are now active.

        Args:
            source: What declares the functions.
            environment: Variables for every one of them.
            timeout: Seconds of silence after which nobody waits any longer.
            parameters: Values for a template's parameters.

        Raises:
            PackingError: it cannot be packed.
            FunctionError: it was refused, with AWS's name for the reason.
            DeploymentTimeout: nothing was heard for `timeout` seconds.
            StoreUnavailable: the object store refused it or did not answer.
        """
        self._redis.ping()
        with ExitStack() as stack:
            packages = self._packed(stack, source, environment, parameters or {})
            names = [name for each in packages for name, _ in self._carry(each, timeout).functions]
        store = FunctionStore(self._storage)
        return [store.load(name) for name in names]

    def publish(self, layer: LayerDeclaration, source: Path, timeout: float) -> LayerConfiguration:
        """Publish a folder or .zip as a layer; returns its newest version.

        Raises: as `run`.
        """
        self._redis.ping()
        with packing.packed_layer(layer, source, self._tell, frozenset({data_folder()})) as package:
            self._carry(package, timeout)
        return LayerStore(self._storage).load(layer.name)

    def _packed(
        self,
        stack: ExitStack,
        source: Path,
        environment: dict[str, str],
        parameters: Mapping[str, str],
    ) -> list[Package]:
        """Everything that is to be uploaded, before anything is."""
        path, leave_out = template.find(source), frozenset({data_folder()})
        if path is not None:
            found = template.read(path, parameters, self._storage.s3_region)
            packages = stack.enter_context(
                packing.packed(found, environment, self._tell, leave_out)
            )
            self._make_buckets(found.buckets)
            return packages
        if parameters:
            raise PackingError(f"{source} has no parameters: only a template has")
        return [stack.enter_context(packed(source, environment, self._tell, leave_out))]

    def _make_buckets(self, wanted: tuple[str, ...]) -> None:
        """Those of a template that are missing; deployment makes those of triggers only."""
        store = client.connect(self._storage)
        for name in wanted:
            with client.asking(f"making the bucket {name}"):
                if not store.bucket_exists(name):
                    store.make_bucket(name)
                    self._tell(f"made the bucket {name}")

    def _carry(self, package: Package, timeout: float) -> DeploymentStep:
        """Upload a package, and follow what comes of it; returns the last step."""
        files = "file" if package.files == 1 else "files"
        self._tell(f"{package.what}packed {package.files:,} {files}, {_size(package.size)}")
        last = self._follow(self._upload(package), timeout)
        if last.state == "failed":
            self._tell(f"{package.what}not deployed; what was deployed before goes on serving")
            raise _refusal(last)
        if package.manifest.layer is not None:
            self._tell(last.message)
        return last

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
