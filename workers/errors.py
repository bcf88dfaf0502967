"""Errors of the worker.

BucketwheelError
└── WorkerError              the worker is set up wrong
    ├── DeploymentFailed     a package cannot be deployed; holds the fault, in AWS's names
    ├── RuntimeMissing       this host lacks what a runtime needs
    └── ZygoteLost           the process that forks environments has gone
"""

from __future__ import annotations

from broker.invocation import FunctionFault
from storage.errors import BucketwheelError


class WorkerError(BucketwheelError):
    """Raised when the worker is set up wrong."""


class DeploymentFailed(WorkerError):
    """Raised when a package cannot be deployed, through its own fault."""

    def __init__(self, fault: FunctionFault) -> None:
        super().__init__(f"{fault.type}: {fault.message}")
        self.fault = fault


class RuntimeMissing(WorkerError):
    """Raised when this host lacks what a runtime needs; the message says how to get it."""


class ZygoteLost(WorkerError):
    """Raised when the process that forks environments has gone; the next fork starts a new one."""
