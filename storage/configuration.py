"""What a function is: its configuration, as validated at deployment and kept in the store."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

EventName = Literal[
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
]

#: The events of a finished write, named one by one: `ObjectCreated:*` would include tagging.
WRITING_EVENTS: tuple[EventName, ...] = (
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
)

#: Bytes of all names and values together: AWS Lambda's quota.
ENVIRONMENT: Final = 4_096

_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
#: What the pattern lets through and the store does not: among others, IP addresses.
_NO_BUCKET: Final = r"\.\.|\.-|-\.|^xn--|-s3alias$|--ol-s3$|^[0-9.]+$|^minio$"


def _bucket(name: str) -> str:
    if not re.fullmatch(_BUCKET, name) or re.search(_NO_BUCKET, name):
        raise ValueError(
            f"{name!r} is no bucket's name: 3 to 63 lower-case letters, digits, single '.' or '-'"
        )
    return name


def _write_pattern(pattern: str) -> str:
    """A bucket alone is all of it, and never the start of another bucket's name."""
    bucket, _, prefix = pattern.partition("/")
    return f"{_bucket(bucket)}/{prefix}"


def _within_quota(variables: dict[str, str]) -> dict[str, str]:
    size = sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())
    if size > ENVIRONMENT:
        raise ValueError(f"environment variables have {size:,} bytes; at most {ENVIRONMENT:,}")
    return variables


FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
#: AWS's names of runtimes; which of them a host can run is known there only.
RuntimeName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(python3\.[0-9]{1,2}|nodejs[0-9]{2}\.x|java[0-9]{1,2}(\.al2)?"
        r"|provided(\.al2|\.al2023)?)$"
    ),
]
#: The runtime of the Python that runs this.
PYTHON: Final = f"python3.{sys.version_info.minor}"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BucketName = Annotated[str, AfterValidator(_bucket)]
WritePattern = Annotated[str, AfterValidator(_write_pattern)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
VariableText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trigger(_Frozen):
    """Bucket, event names, key prefix and suffixes (any of them; none means every key)."""

    bucket: BucketName
    events: tuple[EventName, ...] = Field(default=WRITING_EVENTS, min_length=1)
    prefix: str = ""
    suffixes: tuple[str, ...] = ()


class Layer(_Frozen):
    """One immutable version of a layer: files that functions see below /opt."""

    name: FunctionName
    version: int = Field(ge=1)
    #: SHA-256 of its package, hexadecimal; it is also the package's name in the store.
    code_sha256: Sha256


class FunctionConfiguration(_Frozen):
    """One immutable version of a function. Limits are AWS Lambda's quotas."""

    name: FunctionName
    version: int = Field(default=1, ge=1)
    runtime: RuntimeName = PYTHON
    handler: str = Field(pattern=r"^[^\s]{1,128}$")
    #: Megabytes.
    memory: int = Field(default=128, ge=128, le=10_240)
    #: Seconds.
    timeout: int = Field(default=3, ge=1, le=900)
    #: Megabytes of its own /tmp.
    ephemeral_storage: int = Field(default=512, ge=512, le=10_240)
    environment: Annotated[dict[VariableName, VariableText], AfterValidator(_within_quota)] = {}
    triggers: tuple[Trigger, ...] = ()
    #: `bucket/prefix` patterns the role may write to; None: anywhere in the triggering buckets.
    writes: tuple[WritePattern, ...] | None = None
    maximum_retry_attempts: int = Field(default=2, ge=0, le=2)
    #: Invocations that may run at once on all hosts together; 0 pauses the function.
    reserved_concurrency: int | None = Field(default=None, ge=0, le=10_000)
    #: Environments kept warm on all hosts together.
    provisioned_concurrency: int = Field(default=0, ge=0, le=10_000)
    #: Whether environments are forked from one that has imported the code already.
    snap_start: bool = False
    #: In the order in which they are laid over one another below /opt: the last one wins.
    layers: tuple[Layer, ...] = Field(default=(), max_length=5)
    #: SHA-256 of the code package, hexadecimal; it is also the package's name in the store.
    code_sha256: Sha256
    #: Sequencer of the upload this version came from: uploads take effect in their order.
    upload: str = Field(default="", pattern=r"^[0-9A-Fa-f]*$")
    deployed_at: datetime


#: Folder of the system bucket into which code is uploaded.
UPLOADS = "deployments/"


def uploads(system_bucket: str) -> Trigger:
    """The platform's own trigger: an upload of code."""
    return Trigger(bucket=system_bucket, prefix=UPLOADS, suffixes=(".zip",))
