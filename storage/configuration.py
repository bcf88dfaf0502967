"""What a function is: its configuration, as validated at deployment and kept in the store."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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

FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trigger(_Frozen):
    """Bucket, event names, key prefix and suffixes (any of them; none means every key)."""

    bucket: BucketName
    events: tuple[EventName, ...] = WRITING_EVENTS
    prefix: str = ""
    suffixes: tuple[str, ...] = ()


class FunctionConfiguration(_Frozen):
    """One immutable version of a function. Limits are AWS Lambda's quotas."""

    name: FunctionName
    version: int = Field(default=1, ge=1)
    runtime: str = "python3"
    handler: str = Field(pattern=r"^[^\s]{1,128}$")
    #: Megabytes.
    memory: int = Field(default=128, ge=128, le=10_240)
    #: Seconds.
    timeout: int = Field(default=3, ge=1, le=900)
    environment: dict[str, str] = {}
    triggers: tuple[Trigger, ...] = ()
    #: `bucket/prefix` patterns the role may write to; None: anywhere in the triggering buckets.
    writes: tuple[str, ...] | None = None
    maximum_retry_attempts: int = Field(default=2, ge=0, le=2)
    #: SHA-256 of the code package, hexadecimal; it is also the package's name in the store.
    code_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    #: Sequencer of the upload this version came from: uploads take effect in their order.
    upload: str = ""
    deployed_at: datetime


#: Folder of the system bucket into which code is uploaded.
UPLOADS = "deployments/"


def uploads(system_bucket: str) -> Trigger:
    """The platform's own trigger: an upload of code."""
    return Trigger(bucket=system_bucket, prefix=UPLOADS, suffixes=(".zip",))
