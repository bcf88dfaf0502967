"""A function of a template, as a declaration."""

from __future__ import annotations

from typing import Any

from broker.errors import FilterError
from broker.filters import Filters
from bucketwheel.template.resources import Extras, FunctionProperties, S3EventProperties
from storage.configuration import FunctionDeclaration, Schedule, Trigger


def declaration(properties: FunctionProperties, name: str, extras: Extras) -> FunctionDeclaration:
    """What the template says of a function, in this system's words.

    Raises:
        ValueError: values that are good by themselves do not go together.
    """
    provisioned = properties.provisioned_concurrency_config
    asynchronous = properties.event_invoke_config
    return FunctionDeclaration(
        name=name,
        runtime=properties.runtime,
        handler=properties.handler,
        memory=properties.memory_size,
        timeout=properties.timeout,
        ephemeral_storage=properties.ephemeral_storage.size,
        environment=dict(sorted(properties.environment.variables.items())),
        triggers=tuple(_trigger(each) for each in properties.triggers),
        writes=_writes(properties),
        reads=_reads(properties),
        maximum_retry_attempts=asynchronous.maximum_retry_attempts,
        maximum_event_age=asynchronous.maximum_event_age_in_seconds,
        on_success=asynchronous.destination_config.on_success,
        on_failure=asynchronous.destination_config.on_failure,
        reserved_concurrency=properties.reserved_concurrent_executions,
        provisioned_concurrency=(
            provisioned.provisioned_concurrent_executions if provisioned else 0
        ),
        snap_start=(
            properties.snap_start.apply_on == "PublishedVersions"
            and properties.runtime.startswith("python")
        ),
        layers=properties.layers,
        filters=_filters(properties),
        order=extras.order,
        recursive_loop=properties.recursive_loop,
        batch_size=_alike("BatchSize", [each.batch_size for each in properties.triggers], 1),
        batch_window=_alike(
            "MaximumBatchingWindowInSeconds",
            [each.maximum_batching_window_in_seconds for each in properties.triggers],
            0,
        ),
        schedules=tuple(
            Schedule(expression=each.schedule, catch_up=extras.schedule_catch_up, input=each.input)
            for each in properties.schedules
        ),
    )


def merged(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Globals under a function's own properties: mappings and lists are joined, the rest is own.

    https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html
    """
    both = shared.keys() & own.keys()
    return {**shared, **own, **{name: _joined(shared[name], own[name]) for name in both}}


def _joined(shared: Any, own: Any) -> Any:
    if isinstance(shared, dict) and isinstance(own, dict):
        return merged(shared, own)
    if isinstance(shared, list) and isinstance(own, list):
        return [*shared, *own]
    return own


def _trigger(event: S3EventProperties) -> Trigger:
    suffix = event.value("suffix")
    return Trigger(
        bucket=event.bucket,
        events=event.events,
        prefix=event.value("prefix"),
        suffixes=(suffix,) if suffix else (),
    )


def _alike(name: str, given: list[int], default: int) -> int:
    """A number that a function has once, whatever event it is triggered by."""
    if len(set(given)) > 1:
        raise ValueError(f"{name} must be the same for each of its S3 events")
    return given[0] if given else default


def _filters(properties: FunctionProperties) -> tuple[str, ...]:
    """A function has its filters once, whatever event it is triggered by."""
    given = {each.patterns for each in properties.triggers}
    if len(given) > 1:
        raise ValueError("FilterCriteria must be the same for each of its S3 events")
    patterns = next(iter(given), ())
    try:
        Filters(patterns)
    except FilterError as error:
        raise ValueError(f"FilterCriteria: {error}") from None
    return patterns


def _writes(properties: FunctionProperties) -> tuple[str, ...] | None:
    """Without policies, anywhere in the triggering buckets: AWS would let it write nowhere."""
    if properties.policies is None:
        return None
    return tuple(dict.fromkeys(name for each in properties.policies for name in each.writes()))


def _reads(properties: FunctionProperties) -> tuple[str, ...]:
    found = (name for each in properties.policies or () for name in each.reads())
    return tuple(dict.fromkeys(found))
