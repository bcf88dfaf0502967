"""Errors of the face.

BucketwheelError
├── DeploymentTimeout        nothing was heard of a deployment for too long
├── FunctionError            a function that was called failed
├── InstanceError            no system runs here, or another one does
├── PackingError             the code given cannot be packed
│   ├── BuildError           a tool that builds it is missing, or has failed
│   └── TemplateError        a template says what is not known or not supported here
└── StartError               a part of the system could not be started
"""

from __future__ import annotations

from storage.errors import BucketwheelError


class DeploymentTimeout(BucketwheelError):
    """Raised when nothing was heard of a deployment for as long as the user would wait."""


class FunctionError(BucketwheelError):
    """Raised when a function that was called failed; AWS's errorType, errorMessage, stackTrace."""

    def __init__(self, type: str, message: str, trace: tuple[str, ...] = ()) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message
        self.trace = trace


class InstanceError(BucketwheelError):
    """Raised when no system runs on this folder, or one already does."""


class PackingError(BucketwheelError):
    """Raised when the code given cannot be packed."""


class BuildError(PackingError):
    """Raised when a tool that builds the code is missing, or has failed."""


class TemplateError(PackingError):
    """Raised when a template says what is not known or not supported here."""


class StartError(BucketwheelError):
    """Raised when a part of the system could not be started."""
