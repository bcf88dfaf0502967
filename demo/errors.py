"""What can go wrong in the demo.

DemoError
├── PhotosUnavailable
├── NothingHeard
└── WrongCrop
"""

from __future__ import annotations


class DemoError(Exception):
    """Raised when the demo cannot show what it promises; its message is for people."""


class PhotosUnavailable(DemoError):
    """Raised when there are no photographs: none are kept here, and none can be fetched."""


class NothingHeard(DemoError):
    """Raised when an upload has led to no finished invocation in time."""


class WrongCrop(DemoError):
    """Raised when a crop is missing, or is not what its photograph should have become."""
