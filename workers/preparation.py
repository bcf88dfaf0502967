"""Preparation: what an environment needs before it can start: the code on disk, credentials."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.configuration import FunctionConfiguration
from storage.roles import Roles
from storage.settings import StorageSettings
from workers.layers import Layers
from workers.packages import Packages
from workers.runtimes import runtime
from workers.sandbox import EnvironmentSpec


@dataclass(frozen=True, slots=True)
class Prepared:
    """The specification of one environment, and until when its credentials serve."""

    spec: EnvironmentSpec
    expires_at: datetime

    def serves(self, timeout: float) -> bool:
        """Whether an invocation of at most `timeout` seconds may still begin."""
        return datetime.now(UTC) + timedelta(seconds=timeout + 60) < self.expires_at


class Preparation:
    """Makes specifications; its calls block on the object store the first time, then are cheap."""

    def __init__(
        self, storage: StorageSettings, packages: Packages, layers: Layers, roles: Roles
    ) -> None:
        self._storage = storage
        self._packages = packages
        self._layers = layers
        self._roles = roles

    def prepare(self, configuration: FunctionConfiguration) -> Prepared:
        """Everything for one new environment of this version.

        Raises:
            PackageError: the package is damaged or hostile.
            RuntimeMissing: this host cannot run it (any more).
            StoreUnavailable: the object store refused or did not answer.
        """
        task_root = self._packages.path(configuration.code_sha256)
        runtime(configuration.runtime).paths()  # looks for the interpreter the first time
        credentials = self._roles.credentials(configuration)
        variables = {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.session_token,
        }
        spec = self._spec(configuration, task_root, variables)
        return Prepared(spec, credentials.expires_at)

    def prepare_trial(self, configuration: FunctionConfiguration) -> EnvironmentSpec:
        """For an environment that only tells what a package declares: it has no rights at all."""
        return self._spec(configuration, self._packages.path(configuration.code_sha256), {})

    def _spec(
        self, configuration: FunctionConfiguration, task_root: Path, variables: dict[str, str]
    ) -> EnvironmentSpec:
        id = uuid.uuid4().hex
        endpoint = str(self._storage.s3_endpoint).rstrip("/")
        return EnvironmentSpec(
            id=id,
            configuration=configuration,
            task_root=task_root,
            layers=self._layers.path(configuration),
            variables={
                "AWS_REGION": self._storage.s3_region,
                "AWS_DEFAULT_REGION": self._storage.s3_region,
                "AWS_ENDPOINT_URL_S3": endpoint,
                **variables,
            },
        )
