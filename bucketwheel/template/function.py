"""A function of a template, as a declaration."""

from __future__ import annotations

from typing import Any

from bucketwheel.template.resources import FunctionProperties, S3EventProperties
from storage.configuration import FunctionDeclaration, Trigger


def declaration(properties: FunctionProperties, name: str) -> FunctionDeclaration:
    """What the template says of a function, in this system's words.

    Raises:
        ValueError: values that are good by themselves do not go together.
    """
    provisioned = properties.provisioned_concurrency_config
    return FunctionDeclaration(
        name=name,
        runtime=properties.runtime,
        handler=properties.handler,
        memory=properties.memory_size,
        timeout=properties.timeout,
        ephemeral_storage=properties.ephemeral_storage.size,
        environment=dict(sorted(properties.environment.variables.items())),
        triggers=tuple(_trigger(each.properties) for each in properties.events.values()),
        writes=_writes(properties),
        reads=_reads(properties),
        maximum_retry_attempts=properties.event_invoke_config.maximum_retry_attempts,
        reserved_concurrency=properties.reserved_concurrent_executions,
        provisioned_concurrency=(
            provisioned.provisioned_concurrent_executions if provisioned else 0
        ),
        snap_start=(
            properties.snap_start.apply_on == "PublishedVersions"
            and properties.runtime.startswith("python")
        ),
        layers=properties.layers,
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


def _writes(properties: FunctionProperties) -> tuple[str, ...] | None:
    """Without policies, anywhere in the triggering buckets: AWS would let it write nowhere."""
    if properties.policies is None:
        return None
    return tuple(dict.fromkeys(name for each in properties.policies for name in each.writes()))


def _reads(properties: FunctionProperties) -> tuple[str, ...]:
    found = (name for each in properties.policies or () for name in each.reads())
    return tuple(dict.fromkeys(found))
