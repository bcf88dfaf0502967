"""Deployment: what an upload of code leads to.

1. fetch the upload; read its manifest; keep the package under its SHA-256
2. try it: an environment of its own imports the modules and tells what they declare
3. validate each declaration as a function's configuration
4. grant roles, assert bucket rules, save each configuration as a new version
5. count up the generation of functions: intakes and workers read them anew

Up to step 4 nothing that serves has changed, so a failed deployment leaves the old version.
"""

from __future__ import annotations

import logging
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus
from zipfile import BadZipFile, ZipFile

import orjson
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import RedisError

from broker import keys
from broker.deployments import Deployments, DeploymentStep, Reason
from broker.functions import DeployedFunctions
from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import FunctionConfiguration
from storage.errors import PackageError, StorageError
from storage.functions import FunctionStore
from storage.roles import Roles
from storage.rules import BucketRules
from storage.settings import StorageSettings
from workers.completion import DEPLOY_RETRIES
from workers.errors import DeploymentFailed
from workers.packages import Packages, check_method

log = logging.getLogger("bucketwheel.deployment")

MANIFEST: Final = "bucketwheel.json"
#: Bytes, unpacked: a few names and variables. A bomb must not be read into memory.
LARGEST_MANIFEST: Final = 1024 * 1024
#: What reading a damaged zip file raises.
_DAMAGED: Final = (BadZipFile, zlib.error, EOFError, OSError, LookupError, RuntimeError, ValueError)
#: The trial has what a large package needs to be imported.
TRIAL_TIMEOUT: Final = 60
TRIAL_MEMORY: Final = 1024
#: Seconds after which a registration counts as dead, and its lock as free.
LOCKED: Final = 60.0

Try = Callable[[FunctionConfiguration, bytes], Outcome]


class Manifest(BaseModel):
    """What a package says of itself, in `bucketwheel.json` at its root."""

    modules: tuple[str, ...]
    environment: dict[str, str] = {}


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
            functions = self._carry_out(deployment, key, sequencer)
        except (DeploymentFailed, PackageError) as error:
            self._fail(deployment, error)
        except Exception as error:
            return self._interrupted(deployment, invocation.failures, error)
        else:
            self._activate(deployment, functions)
        return None

    def _carry_out(self, deployment: str, key: str, sequencer: str) -> list[FunctionConfiguration]:
        with tempfile.TemporaryDirectory(prefix="bucketwheel-") as folder:
            upload = Path(folder) / "package.zip"
            self._store.fetch_upload(key, upload)
            manifest = read_manifest(upload)
            sha256 = self._store.put_package(upload)
        self._tell(deployment, DeploymentStep(state="validating", message="importing the code"))
        declared = self._declared(manifest, sha256)
        return self._register(_configurations(declared, manifest, sha256, sequencer))

    def _declared(self, manifest: Manifest, sha256: str) -> list[dict[str, Any]]:
        """What the package declares, as its own code tells it in an environment."""
        trial = _trial_configuration(manifest, sha256)
        outcome = self._trial(trial, orjson.dumps({"modules": manifest.modules}))
        if outcome.fault is not None:
            raise DeploymentFailed(outcome.fault)
        told: dict[str, Any] = orjson.loads(outcome.response or b"{}")
        if told.get("fault"):
            fault = told["fault"]
            raise DeploymentFailed(
                FunctionFault(fault["type"], fault["message"], tuple(fault["trace"]))
            )
        declared: list[dict[str, Any]] = told.get("functions") or []
        return declared

    def _register(self, wanted: list[FunctionConfiguration]) -> list[FunctionConfiguration]:
        """Roles and rules first: a function that is saved can run.

        One worker at a time: to save a version is to read the one in force, and to write.
        """
        with self._redis.lock(keys.DEPLOYING, timeout=LOCKED, blocking_timeout=LOCKED):
            return self._save(wanted)

    def _save(self, wanted: list[FunctionConfiguration]) -> list[FunctionConfiguration]:
        for configuration in wanted:
            self._roles.grant(configuration)
        merged = {**self._store.all(), **{each.name: each for each in wanted}}
        self._rules.ensure_for(merged.values())
        saved = [self._store.save(each) for each in wanted]
        self._deployed.add(saved)
        self._refresh()
        return saved

    def _activate(self, deployment: str, functions: list[FunctionConfiguration]) -> None:
        names = tuple((each.name, each.version) for each in functions)
        told = ", ".join(f"{name} version {version}" for name, version in names)
        log.info("deployment %s: %s", deployment, told)
        step = DeploymentStep(state="active", message=told, functions=names)
        self._tell(deployment, step)

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


def read_manifest(package: Path) -> Manifest:
    """Read a package's manifest.

    Raises:
        PackageError: it is no zip file, or has no manifest of the known shape.
    """
    try:
        return Manifest.model_validate_json(_manifest(package))
    except ValidationError as error:
        reason = f"{MANIFEST}: {_in_words(error)}"
    except _DAMAGED as error:
        reason = str(error.args[0] if error.args else error)
    raise PackageError(f"the upload is not a package made by `bucketwheel deploy`: {reason}")


def _manifest(package: Path) -> bytes:
    """The manifest's content, a little more of it than is allowed at most."""
    with ZipFile(package) as archive:
        entry = archive.getinfo(MANIFEST)
        check_method(entry)
        with archive.open(entry) as file:
            content = file.read(LARGEST_MANIFEST + 1)
    if len(content) > LARGEST_MANIFEST:
        raise PackageError(f"{MANIFEST} is too large: at most {LARGEST_MANIFEST:,} bytes")
    return content


def _upload(event: bytes) -> tuple[str, str]:
    """Key and sequencer of the upload that an event tells of."""
    record = orjson.loads(event)["Records"][0]["s3"]["object"]
    return unquote_plus(record["key"]), str(record.get("sequencer", ""))


def _trial_configuration(manifest: Manifest, sha256: str) -> FunctionConfiguration:
    try:
        return FunctionConfiguration(
            name="deployment",
            handler="bucketwheel.declaration.describe",
            memory=TRIAL_MEMORY,
            timeout=TRIAL_TIMEOUT,
            environment=manifest.environment,
            code_sha256=sha256,
            deployed_at=datetime.now(UTC),
        )
    except ValidationError as error:
        raise DeploymentFailed(_invalid(_in_words(error))) from None


def _configurations(
    declared: list[dict[str, Any]], manifest: Manifest, sha256: str, sequencer: str
) -> list[FunctionConfiguration]:
    return [_configuration(each, manifest, sha256, sequencer) for each in declared]


def _configuration(
    declared: dict[str, Any], manifest: Manifest, sha256: str, sequencer: str
) -> FunctionConfiguration:
    try:
        values = {
            **declared,
            "environment": {**(declared.get("environment") or {}), **manifest.environment},
            "triggers": [_trigger(each) for each in declared.get("triggers") or []],
            "code_sha256": sha256,
            "upload": sequencer,
            "deployed_at": datetime.now(UTC),
        }
        return FunctionConfiguration.model_validate(values)
    except ValidationError as error:
        message = f"function {declared.get('name')!r}: {_in_words(error)}"
        raise DeploymentFailed(_invalid(message)) from None


def _trigger(declared: dict[str, Any]) -> dict[str, Any]:
    """A trigger by the decorator's words; no event names: every finished write."""
    trigger = {
        "bucket": declared.get("bucket"),
        "prefix": declared.get("prefix") or "",
        "suffixes": declared.get("suffixes") or (),
    }
    if declared.get("events"):
        trigger["events"] = declared["events"]
    return trigger


def _invalid(message: str) -> FunctionFault:
    return FunctionFault("InvalidParameterValueException", message)


def _in_words(error: ValidationError) -> str:
    return "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
