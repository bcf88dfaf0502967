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
from typing import Any, Final, TypeVar, overload

Handler = TypeVar("Handler", bound=Callable[..., Any])

#: Every declaration made in this process with what it was made of, in the order of the code.
_declared: list[tuple[Declaration, Callable[..., Any]]] = []

#: AWS's event names, and those with a star for several of them. `ObjectCreated:*` means finished
#: writes here: the store's own star includes tagging, with which a function would call itself.
WRITES: Final = (
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
)
REMOVALS: Final = ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated")
STARS: Final = {"ObjectCreated:*": WRITES, "ObjectRemoved:*": REMOVALS}


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
    reserved_concurrency: int | None = None
    provisioned_concurrency: int = 0
    snap_start: bool = False
    layers: tuple[str, ...] = ()
    ephemeral_storage: int = 512


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
    reserved_concurrency: int | None = None,
    provisioned_concurrency: int = 0,
    snap_start: bool = False,
    layers: str | Sequence[str] = (),
    ephemeral_storage: int = 512,
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
    reserved_concurrency: int | None = None,
    provisioned_concurrency: int = 0,
    snap_start: bool = False,
    layers: str | Sequence[str] = (),
    ephemeral_storage: int = 512,
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
        reserved_concurrency: How many invocations may run at once; 0 pauses the function.
        provisioned_concurrency: How many environments are kept warm.
        snap_start: Fork environments from one that has imported the code already.
        layers: `name`, at its newest version at deployment, or `name:2`; up to 5, the last wins.
        ephemeral_storage: Megabytes of `/tmp`, 512 to 10,240.

    Raises:
        TypeError: an argument is of the wrong type, or what is decorated is no handler.
        ValueError: an argument is outside Lambda's limits.
    """
    trigger = _trigger(bucket, prefix, suffix, events)
    asked: dict[str, Any] = {
        "memory": _number("memory", memory, 128, 10_240, "megabytes"),
        "timeout": _number("timeout", timeout, 1, 900, "seconds"),
        "environment": _variables(environment),
        "triggers": () if trigger is None else (trigger,),
        "writes": None if writes is None else _writes(writes),
        "maximum_retry_attempts": _number(
            "maximum_retry_attempts", maximum_retry_attempts, 0, 2, "retries"
        ),
        **_concurrency(reserved_concurrency, provisioned_concurrency),
        "snap_start": _flag("snap_start", snap_start),
        "layers": _layers(layers),
        "ephemeral_storage": _number(
            "ephemeral_storage", ephemeral_storage, 512, 10_240, "megabytes"
        ),
    }
    if name is not None:
        _match("name", name, _NAME, "1 to 64 letters, digits, '-' or '_'")

    def declare(decorated: Handler) -> Handler:
        _check_handler(decorated)
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


# -- arguments -------------------------------------------------------------------------------------

_NAME: Final = r"[a-zA-Z0-9_-]{1,64}"
_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_BUCKETS: Final = "3 to 63 lower-case letters, digits, '.' or '-'"
_VARIABLE: Final = r"[a-zA-Z_][a-zA-Z0-9_]*"
_LAYER: Final = r"[a-zA-Z0-9_-]{1,140}(:[1-9][0-9]{0,8})?"
#: Bytes of all names and values together: AWS Lambda's quota.
_ENVIRONMENT: Final = 4_096


def _trigger(bucket: Any, prefix: Any, suffix: Any, events: Any) -> dict[str, Any] | None:
    if bucket is None:
        if prefix or suffix or events:
            raise TypeError("@function: prefix, suffix and events need a bucket")
        return None
    _match("bucket", bucket, _BUCKET, _BUCKETS)
    if not isinstance(prefix, str):
        raise TypeError(f"@function: prefix must be a str, not {prefix!r}")
    trigger = {"bucket": bucket, "prefix": prefix, "suffixes": _texts("suffix", suffix)}
    return {**trigger, "events": _events(events)} if events else trigger


def _concurrency(reserved: Any, provisioned: Any) -> dict[str, Any]:
    found = {"provisioned_concurrency": _environments("provisioned_concurrency", provisioned)}
    if reserved is not None:
        found["reserved_concurrency"] = _environments("reserved_concurrency", reserved)
        if provisioned > reserved:
            raise ValueError(
                f"@function: provisioned_concurrency must be at most reserved_concurrency,"
                f" {reserved:,}, not {provisioned:,}"
            )
    return found


def _environments(what: str, value: Any) -> int:
    return _number(what, value, 0, 10_000, "environments")


def _layers(layers: Any) -> tuple[str, ...]:
    found = _texts("layers", layers)
    for each in found:
        _match("each of layers", each, _LAYER, "a layer's 'name' or 'name:version'")
    if len(found) > 5:
        raise ValueError(f"@function: layers must be at most 5, not {len(found)}")
    return found


def _writes(patterns: Any) -> tuple[str, ...]:
    """A bucket, and behind a `/` what keys must begin with; a bucket alone is all of it."""
    found = _texts("writes", patterns)
    for pattern in found:
        bucket = pattern.partition("/")[0]
        _match("what comes before the first '/' in writes", bucket, _BUCKET, _BUCKETS)
    return found


def _events(events: Any) -> tuple[str, ...]:
    names: list[str] = []
    for event in _texts("events", events):
        event = event.removeprefix("s3:")
        if event not in (*STARS, *WRITES, *REMOVALS):
            known = ", ".join((*STARS, *WRITES, *REMOVALS))
            raise ValueError(f"@function: {event!r} is no event; these are: {known}")
        names += STARS.get(event, (event,))
    return tuple(dict.fromkeys(names))


def _texts(what: str, value: Any) -> tuple[str, ...]:
    """One text or several, as several; an empty text is none."""
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"@function: {what} must be a str or several, not {value!r}")
    return tuple(value)


def _variables(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"@function: environment must be a mapping, not {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"@function: environment must map str to str, not {name!r} to {text!r}")
        _match("a name in environment", name, _VARIABLE, "letters, digits and '_'")
        if "\0" in text:
            raise ValueError(f"@function: {name} in environment must not hold a NUL character")
    size = sum(len(name.encode()) + len(text.encode()) for name, text in value.items())
    if size > _ENVIRONMENT:
        raise ValueError(
            f"@function: environment must have at most {_ENVIRONMENT:,} bytes, not {size:,}"
        )
    return dict(value)


def _number(what: str, value: Any, least: int, most: int, unit: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"@function: {what} must be an int, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"@function: {what} must be {least:,} to {most:,} {unit}, not {value:,}")
    return value


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"@function: {what} must be a bool, not {value!r}")
    return value


def _match(what: str, value: Any, pattern: str, allowed: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"@function: {what} must be a str, not {value!r}")
    if not re.fullmatch(pattern, value):
        raise ValueError(f"@function: {what} must be {allowed}, not {value!r}")


def _check_handler(decorated: Any) -> None:
    if not callable(decorated) or not hasattr(decorated, "__qualname__"):
        raise TypeError(f"@function decorates a handler f(event, context), not {decorated!r}")
    if inspect.iscoroutinefunction(decorated):
        raise TypeError(
            f"@function: {decorated.__qualname__} is async, which Lambda's runtime does not run:"
            " make it a plain function that calls asyncio.run"
        )


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
        if not re.fullmatch(_NAME, each.name):
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
