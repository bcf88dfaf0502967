"""Deployment: what an upload of code leads to.

1. fetch the upload; read its manifest; keep the package under its SHA-256
2. a layer is published, and that is all
   modules are tried: an environment of its own imports them and tells what they declare
   declared functions are not: their runtime looks whether this host can run them
3. validate each declaration as a function's configuration, and find its layers
4. grant what the new versions need; those in force keep what they have
5. save each configuration as a new version, and count up the generation of functions: intakes and
   workers read them anew
6. take away what only the old versions had

Up to step 5 nothing that serves has changed, so a failed deployment leaves the old version.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import RedisError
from redis.lock import Lock

from broker import keys
from broker.deployments import Deployments, DeploymentStep, Reason
from broker.errors import FilterError
from broker.filters import Filters
from broker.functions import DeployedFunctions
from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import (
    FunctionConfiguration,
    FunctionDeclaration,
    Layer,
    LayerConfiguration,
)
from storage.errors import LayerNotFound, PackageError, StorageError, UnreadableFunction
from storage.functions import FunctionStore, is_newer
from storage.layers import LayerStore
from storage.roles import Roles
from storage.rules import BucketRules
from storage.settings import StorageSettings
from workers.completion import DEPLOY_RETRIES
from workers.errors import DeploymentFailed, RuntimeMissing
from workers.manifest import LayerDeclaration, Manifest, in_words, read_manifest
from workers.packages import UNPACKED, Packages, unpacked_size
from workers.runtimes import runtime

log = logging.getLogger("bucketwheel.deployment")

#: The trial has what a large package needs to be imported.
TRIAL_TIMEOUT: Final = 60
TRIAL_MEMORY: Final = 1024
#: Seconds after which a registration counts as dead, and its lock as free.
LOCKED: Final = 60.0

_Functions = Mapping[str, FunctionConfiguration]
Try = Callable[[FunctionConfiguration, bytes], Outcome]


@dataclass(frozen=True, slots=True)
class _Code:
    """A package that is kept, and the sequencer of the upload that it came by."""

    sha256: str
    upload: str


class _Description(BaseModel):
    """What a trial answers: `bucketwheel.declaration.describe`, in the user's own process."""

    functions: tuple[dict[str, Any], ...] = ()
    fault: Reason | None = None


class Deployer:
    """Carries out deployments, one after the other."""

    def __init__(
        self,
        redis: Redis,
        storage: StorageSettings,
        store: FunctionStore,
        roles: Roles,
        packages: Packages,
    ) -> None:
        self._redis = redis
        self._deployed = DeployedFunctions(redis)
        self._store = store
        self._layers = LayerStore(storage)
        self._roles = roles
        self._rules = BucketRules(storage)
        self._packages = packages
        self._steps = Deployments(redis)

    def serve(self, trial: Try, refresh: Callable[[], None]) -> None:
        """Take what the worker has: a way to try packages, and to see new functions at once."""
        self._trial = trial
        self._refresh = refresh

    def deploy(self, invocation: Invocation) -> FunctionFault | None:
        """Carry out one upload's event; whoever waits for it is told each step.

        Returns a fault when something of the platform failed, so that it is tried again; a bad
        package is told and done with.
        """
        try:
            key, sequencer = _upload(invocation.event)
        except (ValueError, TypeError, LookupError) as error:
            return FunctionFault("Deployment.NoUpload", f"the event tells of no upload: {error!r}")
        deployment = Path(key).stem
        self._tell(deployment, DeploymentStep(state="received", message=f"received {key}"))
        try:
            done = self._carry_out(deployment, key, sequencer)
        except (DeploymentFailed, PackageError) as error:
            self._fail(deployment, error)
        except Exception as error:
            return self._interrupted(deployment, invocation.failures, error)
        else:
            log.info("deployment %s: %s", deployment, done.message)
            self._tell(deployment, done)
        return None

    def _carry_out(self, deployment: str, key: str, sequencer: str) -> DeploymentStep:
        with tempfile.TemporaryDirectory(prefix="bucketwheel-") as folder:
            upload = Path(folder) / "package.zip"
            self._store.fetch_upload(key, upload)
            manifest = read_manifest(upload)
            sha256 = self._store.put_package(upload)
        code = _Code(sha256, sequencer)
        if manifest.layer is not None:
            return self._publish(manifest.layer, code)
        if manifest.functions:
            wanted = [self._version(each, manifest, code) for each in manifest.functions]
            for each in wanted:
                self._check_runtime(each)
        else:
            self._tell(deployment, DeploymentStep(state="validating", message="importing the code"))
            declared = self._declared(manifest, sha256)
            wanted = [self._version(each, manifest, code) for each in declared]
        return _active(self._register(wanted))

    def _publish(self, declared: LayerDeclaration, code: _Code) -> DeploymentStep:
        self._packages.path(code.sha256)  # what cannot be unpacked is refused now
        layer = LayerConfiguration(
            name=declared.name,
            runtimes=declared.runtimes,
            code_sha256=code.sha256,
            upload=code.upload,
            published_at=datetime.now(UTC),
        )
        with self._one_at_a_time():
            saved = self._layers.save(layer)
        return DeploymentStep(state="active", message=f"layer {saved.name} version {saved.version}")

    def _declared(self, manifest: Manifest, sha256: str) -> list[FunctionDeclaration]:
        """What the package declares, as its own code tells it in an environment."""
        trial = _trial_configuration(manifest, sha256, self._found(manifest.layers))
        outcome = self._trial(trial, orjson.dumps({"modules": manifest.modules}))
        if outcome.fault is not None:
            raise DeploymentFailed(outcome.fault)
        try:
            told = _Description.model_validate_json(outcome.response or b"{}")
        except ValidationError as error:
            raise DeploymentFailed(_invalid(f"what the code told: {in_words(error)}")) from None
        if told.fault is not None:
            raise DeploymentFailed(
                FunctionFault(told.fault.type, told.fault.message, told.fault.trace)
            )
        return [_declaration(each) for each in told.functions]

    def _version(
        self, declared: FunctionDeclaration, manifest: Manifest, code: _Code
    ) -> FunctionConfiguration:
        found = _configuration(declared, self._found(declared.layers), manifest, code)
        if found.layers:
            self._check_size(found)
        return found

    def _found(self, references: Iterable[str]) -> tuple[Layer, ...]:
        try:
            return tuple(self._layers.find(each) for each in references)
        except (LayerNotFound, UnreadableFunction) as error:
            raise DeploymentFailed(_invalid(str(error))) from None

    def _check_size(self, configuration: FunctionConfiguration) -> None:
        """Lambda's quota is for a function and its layers together; the message is Lambda's."""
        packages = [configuration.code_sha256, *(each.code_sha256 for each in configuration.layers)]
        size = sum(unpacked_size(self._packages.path(each)) for each in packages)
        if size > UNPACKED:
            message = (
                f"function {configuration.name!r}: Function code combined with layers exceeds the"
                f" maximum allowed size of {UNPACKED} bytes. The actual size is {size} bytes."
            )
            raise DeploymentFailed(_invalid(message))

    def _check_runtime(self, configuration: FunctionConfiguration) -> None:
        task_root = self._packages.path(configuration.code_sha256)
        try:
            runtime(configuration.runtime).check(configuration, task_root)
        except (RuntimeMissing, PackageError) as error:
            message = f"function {configuration.name!r}: {error}"
            raise DeploymentFailed(_invalid(message)) from None

    def _register(self, wanted: list[FunctionConfiguration]) -> list[FunctionConfiguration]:
        """Save what is wanted; returns the versions in force then.

        One worker at a time: to save a version is to read the one in force, and to write.
        """
        with self._one_at_a_time():
            current = self._store.all()
            self._grant(wanted, current)
            saved = [self._store.save(each) for each in wanted]
            self._deployed.add(saved)
            self._refresh()
            self._restrict(saved, current)
        return saved

    def _one_at_a_time(self) -> Lock:
        lock: Lock = self._redis.lock(keys.DEPLOYING, timeout=LOCKED, blocking_timeout=LOCKED)
        return lock

    def _grant(self, wanted: list[FunctionConfiguration], current: _Functions) -> None:
        """Roles and rules first: a function that is saved can run, and until then the old one."""
        for each in wanted:
            serving = current.get(each.name)
            if serving is None or is_newer(each.upload, serving.upload):
                self._roles.grant(each, serving)
        self._rules.ensure_for([*current.values(), *wanted])

    def _restrict(self, saved: list[FunctionConfiguration], current: _Functions) -> None:
        """Roles and rules are those of the versions in force alone."""
        for each in saved:
            if each.name in current:
                self._roles.restrict(each)
        in_force = {**current, **{each.name: each for each in saved}}
        self._rules.ensure_for(in_force.values())

    def _fail(self, deployment: str, error: DeploymentFailed | PackageError) -> None:
        fault = error.fault if isinstance(error, DeploymentFailed) else None
        fault = fault or FunctionFault("Runtime.InvalidPackage", str(error))
        log.warning("deployment %s failed: %s: %s", deployment, fault.type, fault.message)
        self._steps.refuse(deployment, _reason(fault))

    def _interrupted(self, deployment: str, failures: int, error: Exception) -> FunctionFault:
        """The platform failed, not the package."""
        known = isinstance(error, (StorageError, OSError, RedisError))
        log.error("deployment %s: %s", deployment, error, exc_info=None if known else error)
        fault = FunctionFault("Deployment.Interrupted", str(error))
        if failures < DEPLOY_RETRIES:
            message = f"interrupted, and tried again in {failures + 1} min: {error}"
            self._tell(deployment, DeploymentStep(state="received", message=message))
        else:
            step = DeploymentStep(state="failed", message=str(error), fault=_reason(fault))
            self._tell(deployment, step)
        return fault

    def _tell(self, deployment: str, step: DeploymentStep) -> None:
        self._steps.tell(deployment, step)


def _reason(fault: FunctionFault) -> Reason:
    return Reason(type=fault.type, message=fault.message, trace=fault.trace)


def _active(functions: list[FunctionConfiguration]) -> DeploymentStep:
    names = tuple((each.name, each.version) for each in functions)
    message = ", ".join(f"{name} version {version}" for name, version in names)
    return DeploymentStep(state="active", message=message, functions=names)


def _upload(event: bytes) -> tuple[str, str]:
    """Key and sequencer of the upload that an event tells of."""
    record = orjson.loads(event)["Records"][0]["s3"]["object"]
    return unquote_plus(record["key"]), str(record.get("sequencer", ""))


def _trial_configuration(
    manifest: Manifest, sha256: str, layers: tuple[Layer, ...]
) -> FunctionConfiguration:
    try:
        return FunctionConfiguration(
            name="deployment",
            handler="bucketwheel.declaration.describe",
            memory=TRIAL_MEMORY,
            timeout=TRIAL_TIMEOUT,
            environment=manifest.environment,
            layers=layers,
            code_sha256=sha256,
            deployed_at=datetime.now(UTC),
        )
    except ValidationError as error:
        raise DeploymentFailed(_invalid(in_words(error))) from None


def _declaration(told: dict[str, Any]) -> FunctionDeclaration:
    try:
        return FunctionDeclaration.model_validate(told)
    except ValidationError as error:
        message = f"function {told.get('name')!r}: {in_words(error)}"
        raise DeploymentFailed(_invalid(message)) from None


def _configuration(
    declared: FunctionDeclaration, layers: tuple[Layer, ...], manifest: Manifest, code: _Code
) -> FunctionConfiguration:
    _check_filters(declared)
    values = {
        **dict(declared),
        "environment": {**declared.environment, **manifest.environment},
        "layers": layers,
        "code_sha256": code.sha256,
        "upload": code.upload,
        "deployed_at": datetime.now(UTC),
    }
    try:
        return FunctionConfiguration.model_validate(values)
    except ValidationError as error:
        message = f"function {declared.name!r}: {in_words(error)}"
        raise DeploymentFailed(_invalid(message)) from None


def _check_filters(declared: FunctionDeclaration) -> None:
    try:
        Filters(declared.filters)
    except FilterError as error:
        message = f"function {declared.name!r}: {error}"
        raise DeploymentFailed(_invalid(message)) from None


def _invalid(message: str) -> FunctionFault:
    return FunctionFault("InvalidParameterValueException", message)
