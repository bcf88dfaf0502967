"""Errors of the broker.

BucketwheelError
└── BrokerError
    ├── DeadLetterNotFound    no dead letter of that id is kept
    ├── DeliveryFailed        a destination did not take a record
    ├── FilterError           a filter is no event filtering pattern
    ├── FunctionFailed        the function ran and answered with an error
    ├── InvalidBatchResponse  batchItemFailures names what is no record of the batch
    ├── InvalidPayload        the payload is not JSON
    ├── NoResponse            no response came in the time given
    ├── NothingTriggered      no function is triggered by what is asked about
    ├── PayloadTooLarge       the payload is over Lambda's quota
    └── ReplayNotFound        no replay of that id is known
"""

from __future__ import annotations

from broker.invocation import FunctionFault
from storage.errors import BucketwheelError


class BrokerError(BucketwheelError):
    """Raised when something about queues or the ledger went wrong."""


class DeadLetterNotFound(BrokerError):
    """Raised when no dead letter of an id is kept: it was retried or purged, or never was."""


class DeliveryFailed(BrokerError):
    """Raised when a destination did not take the record of an invocation's end."""


class FilterError(BrokerError):
    """Raised when a filter is no pattern of AWS's event filtering."""


class FunctionFailed(BrokerError):
    """Raised when the function ran and answered with an error."""

    def __init__(self, fault: FunctionFault) -> None:
        super().__init__(f"{fault.type}: {fault.message}")
        self.fault = fault


class InvalidBatchResponse(BrokerError):
    """Raised when a function's `batchItemFailures` cannot be used."""


class InvalidPayload(BrokerError):
    """Raised when a payload is not JSON."""


class NoResponse(BrokerError):
    """Raised when no response came within the time the caller gave."""


class NothingTriggered(BrokerError):
    """Raised when no function is triggered by writes to what is asked about."""


class PayloadTooLarge(BrokerError):
    """Raised when a payload is over AWS Lambda's quota."""


class ReplayNotFound(BrokerError):
    """Raised when no replay of that id is known, or none any more."""
