"""Errors of the broker.

BucketwheelError
└── BrokerError
    ├── FunctionFailed       the function ran and answered with an error
    ├── InvalidPayload       the payload is not JSON
    ├── NoResponse           no response came in the time given
    └── PayloadTooLarge      the payload is over Lambda's quota
"""

from __future__ import annotations

from broker.invocation import FunctionFault
from storage.errors import BucketwheelError


class BrokerError(BucketwheelError):
    """Raised when something about queues or the ledger went wrong."""


class FunctionFailed(BrokerError):
    """Raised when the function ran and answered with an error."""

    def __init__(self, fault: FunctionFault) -> None:
        super().__init__(f"{fault.type}: {fault.message}")
        self.fault = fault


class InvalidPayload(BrokerError):
    """Raised when a payload is not JSON."""


class NoResponse(BrokerError):
    """Raised when no response came within the time the caller gave."""


class PayloadTooLarge(BrokerError):
    """Raised when a payload is over AWS Lambda's quota."""
