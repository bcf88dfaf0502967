"""Errors of storage, and the root of all of Bucketwheel's.

BucketwheelError
├── SettingsError            a setting is missing or bad
└── StorageError
    ├── EventFormatError     a notification is not of a known shape
    ├── FunctionNotFound     no function of that name is deployed
    ├── LayerNotFound        no layer of that name and version is published
    ├── PackageError         a code package cannot be used
    ├── StoreUnavailable     the object store refused or did not answer
    └── UnreadableFunction   what the store has of a function or layer is not of the known shape
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line imports this module before it knows what is asked
    from pydantic import ValidationError


class BucketwheelError(Exception):
    """Raised when something went wrong that the user can read about and act on."""


class SettingsError(BucketwheelError):
    """Raised when a setting is missing or has a bad value."""


class StorageError(BucketwheelError):
    """Raised when something about stored objects went wrong."""


class EventFormatError(StorageError):
    """Raised when a notification from the object store is not of a known shape."""


class FunctionNotFound(StorageError):
    """Raised when no function of that name is deployed."""


class LayerNotFound(StorageError):
    """Raised when no layer of that name and version is published."""


class PackageError(StorageError):
    """Raised when a code package is damaged, hostile or too large."""


class StoreUnavailable(StorageError):
    """Raised when the object store refused a request or did not answer."""


class UnreadableFunction(StorageError):
    """Raised when what the store has of a function or layer is not of the known shape."""


def first_fault(error: ValidationError) -> str:
    """Where a document is first not of its shape, and why: `at Records.0.s3: Field required`."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "its top"
    return f"at {place}: {first['msg']}"
