"""The decorator that declares a function, and the handler that tells what a package declares.

Standard library only: this module is imported in every function's process.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, overload

Handler = TypeVar("Handler", bound=Callable[..., Any])

#: Every declaration made in this process, in the order of the code.
_declared: list[Declaration] = []


@dataclass(frozen=True)
class Declaration:
    """What a decorated function asks for; limits are checked at deployment."""

    name: str
    module: str
    handler: str
    memory: int
    timeout: int
    environment: dict[str, str] = field(default_factory=dict)
    triggers: tuple[dict[str, Any], ...] = ()
    writes: tuple[str, ...] | None = None
    maximum_retry_attempts: int = 2


@overload
def function(handler: Handler, /) -> Handler: ...


@overload
def function(
    *,
    name: str | None = None,
    bucket: str | None = None,
    prefix: str = "",
    suffix: str | Sequence[str] = (),
    events: Sequence[str] | None = None,
    memory: int = 128,
    timeout: int = 3,
    environment: Mapping[str, str] | None = None,
    writes: str | Sequence[str] | None = None,
    maximum_retry_attempts: int = 2,
) -> Callable[[Handler], Handler]: ...


def function(
    handler: Handler | None = None,
    /,
    *,
    name: str | None = None,
    bucket: str | None = None,
    prefix: str = "",
    suffix: str | Sequence[str] = (),
    events: Sequence[str] | None = None,
    memory: int = 128,
    timeout: int = 3,
    environment: Mapping[str, str] | None = None,
    writes: str | Sequence[str] | None = None,
    maximum_retry_attempts: int = 2,
) -> Any:
    """Declare a Lambda handler `f(event, context)` as a function; it stays callable as it is.

    Args:
        name: The function's name; without it, the handler's.
        bucket: The bucket whose finished writes run it; without one it runs by hand only.
        prefix: Keys must begin with it.
        suffix: Keys must end with it, or with one of several.
        events: AWS's event names, `ObjectCreated:Put` and the like, if not every finished write.
        memory: Megabytes, 128 to 10,240.
        timeout: Seconds, 1 to 900.
        environment: Environment variables.
        writes: `bucket/prefix` patterns it may write to; without it, anywhere in `bucket`.
        maximum_retry_attempts: 0 to 2, after 1 and 2 minutes.

    Raises:
        TypeError: it decorates what cannot be called, or prefix, suffix, events have no bucket.
    """
    if bucket is None and (prefix or suffix or events):
        raise TypeError("@function: prefix, suffix and events need a bucket")
    trigger = {
        "bucket": bucket,
        "events": list(events) if events else None,
        "prefix": prefix,
        "suffixes": _several(suffix),
    }

    def declare(decorated: Handler) -> Handler:
        if not callable(decorated):
            raise TypeError(f"@function decorates a handler f(event, context), not {decorated!r}")
        own = decorated.__qualname__
        _declared.append(
            Declaration(
                name=name or decorated.__name__,
                module=decorated.__module__,
                handler=f"{decorated.__module__}.{own}",
                memory=memory,
                timeout=timeout,
                environment=dict(environment or {}),
                triggers=(trigger,) if bucket else (),
                writes=None if writes is None else _several(writes),
                maximum_retry_attempts=maximum_retry_attempts,
            )
        )
        return decorated

    return declare if handler is None else declare(handler)


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    """One text or several, as several."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value)


# -- told at deployment, in an environment of its own ----------------------------------------------


def describe(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Lambda handler: import the modules a package names, and tell what they declare.

    Returns `{"functions": [declaration]}`, or `{"fault": {type, message, trace}}` with the name AWS
    has for it: a package's own fault must not look like one of this handler.
    """
    for module in event["modules"]:
        fault = _import(module)
        if fault is not None:
            return {"fault": fault}
    found = [each for each in _declared if each.module in event["modules"]]
    fault = _wrong(found, event["modules"])
    return {"fault": fault} if fault else {"functions": [_told(each) for each in found]}


def _import(module: str) -> dict[str, Any] | None:
    try:
        importlib.import_module(module)
    except SyntaxError as error:
        message = f"Syntax error in module '{module}': {error}"
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        return {"type": "Runtime.UserCodeSyntaxError", "message": message, "trace": trace}
    except ImportError as error:
        message = f"Unable to import module '{module}': {error}"
        return {"type": "Runtime.ImportModuleError", "message": message, "trace": _trace()}
    except SystemExit as error:
        message = f"module '{module}' ended the process while it was imported: exit({error})"
        return {"type": "Runtime.ExitError", "message": message, "trace": _trace()}
    except Exception as error:
        kind = type(error).__name__
        message = f"module '{module}' failed while it was imported: {error}"
        return {"type": kind, "message": message, "trace": _trace()}
    return None


def _trace() -> list[str]:
    """The part of the trace that is the user's: what comes after the import machinery."""
    lines = traceback.format_exc().splitlines()
    last = max((at for at, line in enumerate(lines) if "importlib" in line), default=-1)
    return lines[last + 1 :]


def _wrong(found: list[Declaration], modules: list[str]) -> dict[str, Any] | None:
    if not found:
        message = (
            f"no function is declared in {', '.join(modules) or 'the package'}: decorate a handler"
            " with @bucketwheel.function(bucket=...)"
        )
        return {"type": "Runtime.HandlerNotFound", "message": message, "trace": []}
    names = [each.name for each in found]
    for each in found:
        if names.count(each.name) > 1:
            message = f"{names.count(each.name)} functions are named {each.name!r}: give them names"
            return {"type": "InvalidParameterValueException", "message": message, "trace": []}
        if not hasattr(sys.modules[each.module], each.handler.removeprefix(f"{each.module}.")):
            message = f"Handler '{each.handler}' must be a function at the top of its module"
            return {"type": "Runtime.HandlerNotFound", "message": message, "trace": []}
    return None


def _told(declaration: Declaration) -> dict[str, Any]:
    told = asdict(declaration)
    del told["module"]
    return told
