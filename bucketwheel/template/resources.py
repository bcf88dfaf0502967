"""Resources of a template, as AWS SAM describes them; limits are those of the functions here.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from bucketwheel.arguments import REMOVALS, STARS, WRITES
from bucketwheel.template.destinations import destination
from storage.configuration import (
    BatchSize,
    BatchWindow,
    BucketName,
    Concurrency,
    Destination,
    EphemeralStorage,
    EventAge,
    EventName,
    FilterPattern,
    FunctionName,
    HandlerName,
    LayerName,
    LayerReferences,
    Memory,
    RetryAttempts,
    RuntimeName,
    ScheduleExpression,
    ScheduleInput,
    Timeout,
    Variables,
)

FUNCTION: Final = "AWS::Serverless::Function"
LAYER: Final = "AWS::Serverless::LayerVersion"
BUCKET: Final = "AWS::S3::Bucket"

#: Properties that are taken and change nothing here.
MEANINGLESS: Final = {
    FUNCTION: frozenset(
        (
            "AssumeRolePolicyDocument",
            "AutoPublishAlias",
            "AutoPublishAliasAllProperties",
            "AutoPublishCodeSha256",
            "CodeSigningConfigArn",
            "DeploymentPreference",
            "Description",
            "KmsKeyArn",
            "LoggingConfig",
            "PermissionsBoundary",
            "PropagateTags",
            "RolePath",
            "RuntimeManagementConfig",
            "SourceKMSKeyArn",
            "Tags",
            "Tracing",
            "VersionDescription",
        )
    ),
    LAYER: frozenset(("CompatibleArchitectures", "Description", "LicenseInfo", "RetentionPolicy")),
    BUCKET: frozenset(
        (
            "AccessControl",
            "BucketEncryption",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "Tags",
        )
    ),
}
#: Types of resources that are taken and change nothing here.
MEANINGLESS_TYPES: Final = frozenset(
    (
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
    )
)
#: Managed policies that give what every function here has.
_GIVEN: Final = frozenset(("AWSLambdaBasicExecutionRole", "AWSXRayDaemonWriteAccess"))


class _Properties(BaseModel):
    """Names are AWS's: `memory_size` is written `MemorySize`."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", frozen=True)


class Parameter(_Properties):
    """A parameter of the template."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["String", "Number", "CommaDelimitedList"] = "String"
    default: str | None = None
    allowed_values: tuple[str, ...] | None = None


class Resource(_Properties):
    """Any resource, before its properties are looked at."""

    type: str
    properties: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    depends_on: Any = None
    deletion_policy: Any = None
    update_replace_policy: Any = None


class Globals(_Properties):
    """What all functions have; for other kinds of resources it has no meaning here."""

    model_config = ConfigDict(extra="ignore")

    function: dict[str, Any] = {}


class TemplateText(_Properties):
    """The template itself; what else stands at its top has no meaning here."""

    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Parameter] = {}
    globals: Globals = Globals()
    resources: dict[str, Resource] = Field(min_length=1)


# -- AWS::Serverless::Function ---------------------------------------------------------------------


def _several(value: Any) -> Any:
    """One, or a list of them."""
    return value if isinstance(value, list) else [value]


def _event_names(value: Any) -> Any:
    """AWS's names, with stars, as the names that they stand for."""
    names: list[Any] = []
    for each in _several(value):
        name = str(each).removeprefix("s3:")
        if name not in (*STARS, *WRITES, *REMOVALS):
            known = ", ".join(f"s3:{each}" for each in (*STARS, *WRITES, *REMOVALS))
            raise ValueError(f"{each!r} is not supported here; these are: {known}")
        names += STARS.get(name, (name,))
    return tuple(dict.fromkeys(names))


class _Rule(_Properties):
    name: Annotated[Literal["prefix", "suffix"], BeforeValidator(lambda name: str(name).lower())]
    value: str


class _Rules(_Properties):
    rules: tuple[_Rule, ...] = Field(max_length=2)


class _Filter(_Properties):
    s3_key: _Rules = Field(alias="S3Key")


class _Pattern(_Properties):
    pattern: FilterPattern


class _FilterCriteria(_Properties):
    filters: tuple[_Pattern, ...] = Field(default=(), max_length=5)


class S3EventProperties(_Properties):
    """A trigger. AWS has filters and batches on other sources only; they mean the same here."""

    bucket: BucketName
    events: Annotated[tuple[EventName, ...], BeforeValidator(_event_names), Field(min_length=1)]
    filter: _Filter | None = None
    filter_criteria: _FilterCriteria = _FilterCriteria()
    batch_size: BatchSize = 1
    maximum_batching_window_in_seconds: BatchWindow = 0
    #: Taken, since what a batch's function answers of failed records is heeded in any case.
    function_response_types: tuple[Literal["ReportBatchItemFailures"], ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of which a record must match one."""
        return tuple(each.pattern for each in self.filter_criteria.filters)

    def value(self, rule: str) -> str:
        """What keys begin or end with."""
        rules = self.filter.s3_key.rules if self.filter else ()
        return next((each.value for each in rules if each.name == rule), "")


class S3Event(_Properties):
    """An event source of a function."""

    type: Literal["S3"]
    properties: S3EventProperties


class ScheduleProperties(_Properties):
    """A schedule.

    https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-schedule.html
    """

    schedule: ScheduleExpression
    input: ScheduleInput | None = None
    enabled: bool = True
    state: Literal["ENABLED", "DISABLED"] = "ENABLED"
    name: Any = None
    description: Any = None


class _FlexibleTimeWindow(_Properties):
    mode: Literal["OFF"]


class ScheduleV2Properties(ScheduleProperties):
    """A schedule of EventBridge Scheduler; what it has beyond the other kind is not supported."""

    schedule: ScheduleExpression = Field(alias="ScheduleExpression")
    schedule_expression_timezone: Literal["UTC"] = "UTC"
    flexible_time_window: _FlexibleTimeWindow | None = None


class ScheduleEvent(_Properties):
    """An event source of a function."""

    type: Literal["Schedule"]
    properties: ScheduleProperties


class ScheduleV2Event(_Properties):
    """An event source of a function."""

    type: Literal["ScheduleV2"]
    properties: ScheduleV2Properties


Event = Annotated[S3Event | ScheduleEvent | ScheduleV2Event, Field(discriminator="type")]


class _OfBucket(_Properties):
    bucket_name: BucketName


class Policy(_Properties):
    """One of SAM's policy templates."""

    s3_read_policy: _OfBucket | None = Field(default=None, alias="S3ReadPolicy")
    s3_write_policy: _OfBucket | None = Field(default=None, alias="S3WritePolicy")
    s3_crud_policy: _OfBucket | None = Field(default=None, alias="S3CrudPolicy")

    def reads(self) -> tuple[str, ...]:
        """Buckets that it lets read."""
        return _names(self.s3_read_policy, self.s3_crud_policy)

    def writes(self) -> tuple[str, ...]:
        """Buckets that it lets write."""
        return _names(self.s3_write_policy, self.s3_crud_policy)


def _names(*given: _OfBucket | None) -> tuple[str, ...]:
    return tuple(each.bucket_name for each in given if each is not None)


def _policies(value: Any) -> Any:
    """Without those that give nothing which functions here do not have."""
    found = []
    for each in _several(value):
        if isinstance(each, str) and each.rpartition("/")[2] not in _GIVEN:
            raise ValueError(f"{each!r} is not supported here; S3ReadPolicy and the like are")
        found += [] if isinstance(each, str) else [each]
    return found


class _Environment(_Properties):
    variables: Variables = {}


class _Ephemeral(_Properties):
    size: EphemeralStorage = 512


class _Provisioned(_Properties):
    provisioned_concurrent_executions: Concurrency


class _SnapStart(_Properties):
    apply_on: Literal["PublishedVersions", "None"] = "None"


class _Destinations(_Properties):
    on_success: Annotated[Destination | None, BeforeValidator(destination)] = None
    on_failure: Annotated[Destination | None, BeforeValidator(destination)] = None


class _EventInvoke(_Properties):
    maximum_retry_attempts: RetryAttempts = 2
    maximum_event_age_in_seconds: EventAge = 21_600
    destination_config: _Destinations = _Destinations()


class Extras(_Properties):
    """What AWS has no words for: `Metadata: {Bucketwheel: {...}}` of a function."""

    order: Literal["none", "key"] = "none"
    schedule_catch_up: bool = False


class FunctionProperties(_Properties):
    """AWS::Serverless::Function."""

    function_name: FunctionName | None = None
    runtime: RuntimeName
    handler: HandlerName
    code_uri: str = "."
    inline_code: str | None = None
    memory_size: Memory = 128
    timeout: Timeout = 3
    environment: _Environment = _Environment()
    ephemeral_storage: _Ephemeral = _Ephemeral()
    reserved_concurrent_executions: Concurrency | None = None
    provisioned_concurrency_config: _Provisioned | None = None
    snap_start: _SnapStart = _SnapStart()
    layers: LayerReferences = ()
    event_invoke_config: _EventInvoke = _EventInvoke()
    events: dict[str, Event] = {}
    policies: Annotated[tuple[Policy, ...] | None, BeforeValidator(_policies)] = None
    recursive_loop: Literal["Terminate", "Allow"] = "Terminate"
    package_type: Literal["Zip"] = "Zip"
    architectures: tuple[Literal["x86_64"]] = ("x86_64",)

    @property
    def triggers(self) -> list[S3EventProperties]:
        """Its events of objects."""
        return [each.properties for each in self.events.values() if isinstance(each, S3Event)]

    @property
    def schedules(self) -> list[ScheduleProperties]:
        """Its events of the clock, but for those that are disabled."""
        given = [each.properties for each in self.events.values() if not isinstance(each, S3Event)]
        return [each for each in given if each.enabled and each.state == "ENABLED"]


# -- others ----------------------------------------------------------------------------------------


class LayerProperties(_Properties):
    """AWS::Serverless::LayerVersion."""

    layer_name: LayerName | None = None
    content_uri: str
    compatible_runtimes: tuple[RuntimeName, ...] = ()


class BucketProperties(_Properties):
    """AWS::S3::Bucket."""

    bucket_name: BucketName | None = None
