"""What a function is: its configuration, as validated at deployment and kept in the store."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from storage.schedules import compiled

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
#: Layers of one function: AWS Lambda's quota.
LAYERS: Final = 5

_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
#: What the pattern lets through and the store does not: among others, IP addresses.
_NO_BUCKET: Final = r"\.\.|\.-|-\.|^xn--|-s3alias$|--ol-s3$|^[0-9.]+$|^minio$"

#: Not pydantic's own patterns: they take a megabyte for such counts, for each field of each model.
_DESTINATION: Final = re.compile(
    r"function:[a-zA-Z0-9_-]{1,64}|redis:[^\s]{1,200}"
    r"|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]{0,500})?|https?://[^\s/?#][^\s]{0,999}"
)


def _bucket(name: str) -> str:
    if not re.fullmatch(_BUCKET, name) or re.search(_NO_BUCKET, name):
        raise ValueError(
            f"{name!r} is no bucket's name: 3 to 63 lower-case letters, digits, single '.' or '-'"
        )
    return name


def _key_pattern(pattern: str) -> str:
    """A bucket alone is all of it, and never the start of another bucket's name."""
    bucket, _, prefix = pattern.partition("/")
    return f"{_bucket(bucket)}/{prefix}"


def _within_quota(variables: dict[str, str]) -> dict[str, str]:
    size = sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())
    if size > ENVIRONMENT:
        raise ValueError(f"environment variables have {size:,} bytes; at most {ENVIRONMENT:,}")
    return variables


def _destination(text: str) -> str:
    if not _DESTINATION.fullmatch(text):
        raise ValueError(
            f"{text!r:.200} is no destination: function:NAME, redis:LIST, s3://BUCKET/PREFIX, or an"
            " http(s) address"
        )
    return text


def _not_ours(destination: str) -> str:
    """Records must not get between what the system keeps in the same Redis."""
    if re.match(r"redis:(bucketwheel:|function\.|unacked|_kombu)", destination):
        raise ValueError(f"{destination!r} is a list of the system's own: use another name")
    return destination


def _one_version_each(layers: tuple[str, ...]) -> tuple[str, ...]:
    names = [each.partition(":")[0] for each in layers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"layer {name!r} is named {names.count(name)} times")
    return layers


def _schedule(expression: str) -> str:
    compiled(expression)
    return expression


def _json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r:.200} is not JSON: {error}") from None
    return text


FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
LayerName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,140}$")]
#: `name`, the newest version at deployment, or `name:2`.
LayerReference = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,140}(:[1-9][0-9]{0,8})?$")
]
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
#: In the order in which they are laid over one another below /opt: the last one wins.
LayerReferences = Annotated[
    tuple[LayerReference, ...], Field(max_length=LAYERS), AfterValidator(_one_version_each)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BucketName = Annotated[str, AfterValidator(_bucket)]
KeyPattern = Annotated[str, AfterValidator(_key_pattern)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
VariableText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
HandlerName = Annotated[str, StringConstraints(pattern=r"^[^\s]+$", max_length=128)]
Variables = Annotated[dict[VariableName, VariableText], AfterValidator(_within_quota)]
#: Megabytes.
Memory = Annotated[int, Field(ge=128, le=10_240)]
#: Seconds.
Timeout = Annotated[int, Field(ge=1, le=900)]
#: Megabytes of a function's own /tmp.
EphemeralStorage = Annotated[int, Field(ge=512, le=10_240)]
#: Environments on all hosts together.
Concurrency = Annotated[int, Field(ge=0, le=10_000)]
#: Of the upload that a version came from, hexadecimal: uploads take effect in their order.
Sequencer = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]*$")]
RetryAttempts = Annotated[int, Field(ge=0, le=2)]
#: Seconds.
EventAge = Annotated[int, Field(ge=60, le=21_600)]
BatchSize = Annotated[int, Field(ge=1, le=10_000)]
#: Seconds.
BatchWindow = Annotated[int, Field(ge=0, le=300)]
#: `function:NAME`, `redis:LIST`, `s3://BUCKET/PREFIX`, or an address that takes POST.
Destination = Annotated[str, AfterValidator(_destination), AfterValidator(_not_ours)]
ScheduleExpression = Annotated[str, Field(max_length=256), AfterValidator(_schedule)]
ScheduleInput = Annotated[str, Field(max_length=8_192), AfterValidator(_json)]
#: AWS's event filtering, JSON. https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
FilterPattern = Annotated[str, StringConstraints(min_length=2, max_length=4_096)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trigger(_Frozen):
    """Bucket, event names, key prefix and suffixes (any of them; none means every key)."""

    bucket: BucketName
    events: tuple[EventName, ...] = Field(default=WRITING_EVENTS, min_length=1)
    prefix: str = ""
    suffixes: tuple[str, ...] = ()


class Schedule(_Frozen):
    """When a function is invoked by the clock."""

    #: AWS's `rate(5 minutes)` or `cron(0 8 * * ? *)`, in UTC.
    expression: ScheduleExpression
    #: Whether what was due while the system was down is made up for, once.
    catch_up: bool = False
    #: The event, JSON; None: as EventBridge tells of a schedule.
    input: ScheduleInput | None = None


class Layer(_Frozen):
    """One immutable version of a layer: files that functions see below /opt."""

    name: LayerName
    version: int = Field(ge=1)
    #: SHA-256 of its package, hexadecimal; it is also the package's name in the store.
    code_sha256: Sha256


class LayerConfiguration(Layer):
    """One immutable version of a layer, as the store keeps it."""

    version: int = Field(default=1, ge=1)
    #: Those that it says it is made for; none: any.
    runtimes: tuple[RuntimeName, ...] = ()
    upload: Sequencer = ""
    published_at: datetime


class _Function(_Frozen):
    """What is said of a function, and kept of it. Limits are AWS Lambda's quotas."""

    name: FunctionName
    runtime: RuntimeName = PYTHON
    handler: HandlerName
    memory: Memory = 128
    timeout: Timeout = 3
    ephemeral_storage: EphemeralStorage = 512
    environment: Variables = {}
    triggers: tuple[Trigger, ...] = ()
    #: `bucket/prefix` patterns the role may write to; None: anywhere in the triggering buckets.
    writes: tuple[KeyPattern, ...] | None = None
    #: `bucket/prefix` patterns the role may read, besides the triggering buckets.
    reads: tuple[KeyPattern, ...] = ()
    maximum_retry_attempts: RetryAttempts = 2
    #: Seconds after which an event is given up that nobody waits for.
    maximum_event_age: EventAge = 21_600
    #: Where the record of an invocation goes that has succeeded, or that was given up.
    on_success: Destination | None = None
    on_failure: Destination | None = None
    #: `key`: of one key, no older write is delivered once a newer one has been handled.
    order: Literal["none", "key"] = "none"
    #: Event records that are delivered together, and how long the first waits for the others.
    batch_size: BatchSize = 1
    batch_window: BatchWindow = 0
    #: A record must match one of them; none: every record does.
    filters: tuple[FilterPattern, ...] = Field(default=(), max_length=5)
    schedules: tuple[Schedule, ...] = Field(default=(), max_length=10)
    #: What becomes of a chain of invocations that has come by 16 times. AWS: RecursiveLoop.
    recursive_loop: Literal["Terminate", "Allow"] = "Terminate"
    #: Invocations that may run at once on all hosts together; 0 pauses the function.
    reserved_concurrency: Concurrency | None = None
    #: Environments kept warm on all hosts together.
    provisioned_concurrency: Concurrency = 0
    #: Whether environments are forked from one that has imported the code already.
    snap_start: bool = False

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.order == "key" and self.batch_size > 1:
            raise ValueError("order by key is for records that are delivered alone: batch size 1")
        return self

    @model_validator(mode="after")
    def _has_time_to_gather(self) -> Self:
        if self.batch_size > 10 and self.batch_window < 1:
            raise ValueError(
                f"a batch size of {self.batch_size:,} needs a batch window of at least 1 s; without"
                " one it is at most 10"
            )
        if self.batch_window >= self.maximum_event_age:
            raise ValueError(
                f"a batch window of {self.batch_window} s must be shorter than the maximum event"
                f" age, {self.maximum_event_age:,} s"
            )
        return self

    @model_validator(mode="after")
    def _scheduled_apart(self) -> Self:
        expressions = [each.expression for each in self.schedules]
        for each in expressions:
            if expressions.count(each) > 1:
                raise ValueError(f"{each} is there {expressions.count(each)} times")
        return self

    @model_validator(mode="after")
    def _told_alone(self) -> Self:
        if self.on_success is not None and self.batch_size > 1:
            raise ValueError("on_success is for events that are delivered alone: batch size 1")
        return self

    @model_validator(mode="after")
    def _within_reserved(self) -> Self:
        reserved = self.reserved_concurrency
        if reserved is not None and self.provisioned_concurrency > reserved:
            raise ValueError(
                f"provisioned concurrency, {self.provisioned_concurrency:,}, must be at most"
                f" reserved concurrency, {reserved:,}"
            )
        return self


class FunctionDeclaration(_Function):
    """What a package or a template asks for; deployment makes a version of it."""

    layers: LayerReferences = ()


class FunctionConfiguration(_Function):
    """One immutable version of a function."""

    version: int = Field(default=1, ge=1)
    #: As declared, each at the version that it had at deployment.
    layers: tuple[Layer, ...] = Field(default=(), max_length=LAYERS)
    #: SHA-256 of the code package, hexadecimal; it is also the package's name in the store.
    code_sha256: Sha256
    upload: Sequencer = ""
    deployed_at: datetime


#: Folder of the system bucket into which code is uploaded.
UPLOADS = "deployments/"


def uploads(system_bucket: str) -> Trigger:
    """The platform's own trigger: an upload of code."""
    return Trigger(bucket=system_bucket, prefix=UPLOADS, suffixes=(".zip",))
