"""Bucketwheel runs your functions when objects land in your buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bucketwheel.declaration import function

if TYPE_CHECKING:
    from bucketwheel.calls import invoke
    from bucketwheel.errors import FunctionError

__all__ = ["FunctionError", "function", "invoke"]


def __getattr__(name: str) -> Any:
    """Import what calls functions only when it is used: a function's own process never does."""
    if name == "FunctionError":
        from bucketwheel.errors import FunctionError

        return FunctionError
    if name == "invoke":
        from bucketwheel.calls import invoke

        return invoke
    raise AttributeError(f"module 'bucketwheel' has no attribute {name!r}")
