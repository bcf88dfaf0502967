"""The decorator that declares a function, and the handler that tells what a package declares.

Standard library only: this module is imported in every function's process.
"""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, overload

from bucketwheel import arguments

Handler = TypeVar("Handler", bound=Callable[..., Any])

#: Every declaration made in this process with what it was made of, in the order of the code.
_declared: list[tuple[Declaration, Callable[..., Any]]] = []


@dataclass(frozen=True)
class Declaration:
    """What a decorated function asks for; the callable carries it as `__bucketwheel__`."""

    name: str
    module: str
    handler: str
    memory: int
    timeout: int
    environment: dict[str, str] = field(default_factory=dict)
    triggers: tuple[dict[str, Any], ...] = ()
    writes: tuple[str, ...] | None = None
    maximum_retry_attempts: int = 2
    maximum_event_age: int = 21_600
    on_success: str | None = None
    on_failure: str | None = None
    reserved_concurrency: int | None = None
    provisioned_concurrency: int = 0
    snap_start: bool = False
    layers: tuple[str, ...] = ()
    ephemeral_storage: int = 512
    filters: tuple[str, ...] = ()
    order: str = "none"
    recursive_loop: str = "Terminate"
    batch_size: int = 1
    batch_window: int = 0
    schedules: tuple[dict[str, Any], ...] = ()


@overload
def function(handler: Handler, /) -> Handler: ...


@overload
def function(
    *,
    name: str | None = None,
    bucket: str | None = None,
    prefix: str = "",
    suffix: str | Sequence[str] = (),
    events: str | Sequence[str] | None = None,
    memory: int = 128,
    timeout: int = 3,
    environment: Mapping[str, str] | None = None,
    writes: str | Sequence[str] | None = None,
    maximum_retry_attempts: int = 2,
    maximum_event_age: int = 21_600,
    on_success: str | None = None,
    on_failure: str | None = None,
    reserved_concurrency: int | None = None,
    provisioned_concurrency: int = 0,
    snap_start: bool = False,
    layers: str | Sequence[str] = (),
    ephemeral_storage: int = 512,
    filters: Sequence[Mapping[str, Any] | str] = (),
    order: str = "none",
    recursive_loop: str = "Terminate",
    batch_size: int = 1,
    batch_window: int = 0,
    schedule: str | Sequence[str] = (),
    schedule_catch_up: bool = False,
) -> Callable[[Handler], Handler]: ...


def function(
    handler: Handler | None = None,
    /,
    *,
    name: str | None = None,
    bucket: str | None = None,
    prefix: str = "",
    suffix: str | Sequence[str] = (),
    events: str | Sequence[str] | None = None,
    memory: int = 128,
    timeout: int = 3,
    environment: Mapping[str, str] | None = None,
    writes: str | Sequence[str] | None = None,
    maximum_retry_attempts: int = 2,
    maximum_event_age: int = 21_600,
    on_success: str | None = None,
    on_failure: str | None = None,
    reserved_concurrency: int | None = None,
    provisioned_concurrency: int = 0,
    snap_start: bool = False,
    layers: str | Sequence[str] = (),
    ephemeral_storage: int = 512,
    filters: Sequence[Mapping[str, Any] | str] = (),
    order: str = "none",
    recursive_loop: str = "Terminate",
    batch_size: int = 1,
    batch_window: int = 0,
    schedule: str | Sequence[str] = (),
    schedule_catch_up: bool = False,
) -> Any:
    """Declare a Lambda handler `f(event, context)` as a function; it stays callable as it is.

    Args:
        name: The function's name, 1 to 64 letters, digits, `-`, `_`; without it, the handler's.
        bucket: The bucket whose finished writes run it; without one it runs by hand only.
        prefix: Keys must begin with it.
        suffix: Keys must end with it, or with one of several.
        events: AWS's event names, `ObjectCreated:Put` and the like, if not every finished write.
        memory: Megabytes, 128 to 10,240.
        timeout: Seconds, 1 to 900.
        environment: Environment variables.
        writes: `bucket` or `bucket/prefix`, where it may write; without it, anywhere in `bucket`.
        maximum_retry_attempts: 0 to 2, after 1 and 2 minutes.
        maximum_event_age: Seconds, 60 to 21,600, after which an event is given up.
        on_success: Where the record of an invocation goes that nobody waits for, when it has
            succeeded: `function:NAME`, `redis:LIST`, `s3://BUCKET/PREFIX`, or `https://...`.
        on_failure: The same, when it is given up; without it, it is kept as a dead letter.
        reserved_concurrency: How many invocations may run at once; 0 pauses the function.
        provisioned_concurrency: How many environments are kept warm.
        snap_start: Fork environments from one that has imported the code already.
        layers: `name`, at its newest version at deployment, or `name:2`; up to 5, the last wins.
        ephemeral_storage: Megabytes of `/tmp`, 512 to 10,240.
        filters: AWS's event filtering patterns, up to 5, for the event's record: any must match.
        order: `key`: of one key, an older write is not delivered once a newer one was handled.
        recursive_loop: `Allow`: it may come back to itself more than 16 times.
        batch_size: 1 to 10,000 records that come in one event.
        batch_window: 0 to 300 seconds that the first of them waits for the others.
        schedule: `rate(5 minutes)`, `cron(0 8 * * ? *)` in UTC, or several of such.
        schedule_catch_up: Make up, once, for what was due while nothing ran.

    Raises:
        TypeError: an argument is of the wrong type, or what is decorated is no handler.
        ValueError: an argument is outside Lambda's limits.
    """
    trigger = arguments.trigger(bucket, prefix, suffix, events)
    asked: dict[str, Any] = {
        "memory": arguments.number("memory", memory, 128, 10_240, "megabytes"),
        "timeout": arguments.number("timeout", timeout, 1, 900, "seconds"),
        "environment": arguments.variables(environment),
        "triggers": () if trigger is None else (trigger,),
        "writes": None if writes is None else arguments.writes(writes),
        "maximum_retry_attempts": arguments.number(
            "maximum_retry_attempts", maximum_retry_attempts, 0, 2, "retries"
        ),
        "maximum_event_age": arguments.number(
            "maximum_event_age", maximum_event_age, 60, 21_600, "seconds"
        ),
        "on_success": arguments.destination("on_success", on_success),
        "on_failure": arguments.destination("on_failure", on_failure),
        **arguments.concurrency(reserved_concurrency, provisioned_concurrency),
        "snap_start": arguments.flag("snap_start", snap_start),
        "layers": arguments.layers(layers),
        "ephemeral_storage": arguments.number(
            "ephemeral_storage", ephemeral_storage, 512, 10_240, "megabytes"
        ),
        "filters": arguments.filters(filters, bucket),
        "order": arguments.choice("order", order, ("none", "key")),
        "recursive_loop": arguments.choice(
            "recursive_loop", recursive_loop, ("Terminate", "Allow")
        ),
        **arguments.batches(batch_size, batch_window, bucket),
        "schedules": arguments.schedules(schedule, schedule_catch_up),
    }
    if name is not None:
        arguments.match("name", name, arguments.NAME, "1 to 64 letters, digits, '-' or '_'")

    def declare(decorated: Handler) -> Handler:
        arguments.check_handler(decorated)
        declaration = Declaration(
            name=name or decorated.__name__,
            module=decorated.__module__,
            handler=f"{decorated.__module__}.{decorated.__qualname__}",
            **asked,
        )
        _declared.append((declaration, decorated))
        decorated.__bucketwheel__ = declaration  # type: ignore[attr-defined]
        return decorated

    return declare if handler is None else declare(handler)


# -- told at deployment, in an environment of its own ----------------------------------------------


def describe(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Lambda handler: import the modules a package names, and tell what they declare.

    Returns `{"functions": [declaration]}`, or `{"fault": {type, message, trace}}` with the name AWS
    has for it: a package's own fault must not look like one of this handler.
    """
    modules: list[str] = event["modules"]
    for module in modules:
        fault = _import(module)
        if fault is not None:
            return {"fault": fault}
    found = [each for each in _declared if each[0].module.partition(".")[0] in modules]
    fault = _wrong(found, modules)
    return {"fault": fault} if fault else {"functions": [_told(each) for each, _ in found]}


def _import(module: str) -> dict[str, Any] | None:
    try:
        importlib.import_module(module)
    except SyntaxError as error:
        text = (error.text or "").strip()
        trace = [f'  File "{error.filename}", line {error.lineno}', f"    {text}"]
        message = f"Syntax error in module '{module}': {error}"
        return _fault("Runtime.UserCodeSyntaxError", message, trace)
    except ImportError as error:
        message = f"Unable to import module '{module}': {error}"
        return _fault("Runtime.ImportModuleError", message, _trace(error))
    except SystemExit as error:
        message = f"module '{module}' ended the process while it was imported: exit({error})"
        return _fault("Runtime.ExitError", message, _trace(error))
    except Exception as error:
        message = f"module '{module}' failed while it was imported: {error}"
        return _fault(type(error).__name__, message, _trace(error))
    return None


def _fault(type: str, message: str, trace: Sequence[str] = ()) -> dict[str, Any]:
    return {"type": type, "message": message, "trace": list(trace)}


def _trace(error: BaseException) -> list[str]:
    """The trace without its first frames, which are ours and the import machinery's."""
    told = traceback.TracebackException.from_exception(error)
    frames = list(told.stack)
    ours = (__file__, importlib.__file__)
    while frames and frames[0].filename.startswith((*ours, "<frozen importlib")):
        frames.pop(0)
    told.stack = traceback.StackSummary.from_list(frames)
    return "".join(told.format()).splitlines()


def _wrong(
    found: list[tuple[Declaration, Callable[..., Any]]], modules: list[str]
) -> dict[str, Any] | None:
    if not found:
        return _fault(
            "Runtime.HandlerNotFound",
            f"no function is declared in {', '.join(modules) or 'the package'}: write"
            ' @bucketwheel.function(bucket="...") above a handler f(event, context)',
        )
    names = [each.name for each, _ in found]
    for each, decorated in found:
        if not re.fullmatch(arguments.NAME, each.name):
            message = f"{each.name!r} cannot be a function's name: give it one with name=..."
            return _fault("InvalidParameterValueException", message)
        if names.count(each.name) > 1:
            message = f"{names.count(each.name)} functions are named {each.name!r}: name them apart"
            return _fault("InvalidParameterValueException", message)
        if not _is_found(each, decorated):
            return _fault(
                "Runtime.HandlerNotFound",
                f"Handler '{each.handler}' must be a function at the top level of its module, and"
                " the only one of its name; decorators beside @function must use functools.wraps",
            )
    return None


def _is_found(declaration: Declaration, decorated: Callable[..., Any]) -> bool:
    """Whether the runtime will find, by the handler's name, what was decorated."""
    own = declaration.handler.removeprefix(f"{declaration.module}.")
    handler: Any = getattr(importlib.import_module(declaration.module), own, None)
    return inspect.unwrap(handler) is inspect.unwrap(decorated)


def _told(declaration: Declaration) -> dict[str, Any]:
    told = asdict(declaration)
    del told["module"]
    return told
