"""Batches: records of a function's triggers that are delivered together.

A batch closes as one of AWS's event source mappings does: when it has as many records as are
asked for, when its first record has waited for its window, or before it outgrows 6 MB.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html

The function may answer which records have failed, `{"batchItemFailures": [{"itemIdentifier":
"..."}]}`; identifiers are the records' `messageId`.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from broker.errors import InvalidBatchResponse
from broker.invocation import MAX_SYNC_PAYLOAD, FunctionFault

if TYPE_CHECKING:  # who calls by hand does without the store
    from storage.configuration import FunctionConfiguration

#: Records of a batch that are read, or settled, in one call.
PIECE: Final = 1_000
#: What a record has ended with that the function has named.
NAMED: Final = FunctionFault("BatchItemFailure", "the function named the record in its response")


@dataclass(frozen=True, slots=True)
class Batching:
    """How records of a function gather."""

    #: At most.
    records: int
    #: Seconds that the first waits for others.
    window: int

    def render(self) -> str:
        """What stands in a message's place for records that gather; see lua/gather.lua."""
        id = str(uuid.uuid4())[:-4]
        return f"gather {id} {self.records} {MAX_SYNC_PAYLOAD} {self.window * 1000}"


def batching(function: FunctionConfiguration) -> Batching | None:
    """How a function's records gather; None: each is delivered alone."""
    if function.batch_size == 1:
        return None
    return Batching(function.batch_size, function.batch_window)


def event(pieces: Iterable[bytes]) -> bytes:
    """The event of a batch, of which these are the records."""
    return b'{"Records":[' + b",".join(piece for piece in pieces if piece) + b"]}"


def failed_records(event: bytes, response: bytes) -> tuple[str, ...]:
    """Identifiers of the records that a response names as failed, each once.

    Raises:
        InvalidBatchResponse: it names what is no record of this event; all have failed then.
    """
    if b'"batchItemFailures"' not in response:
        return ()
    named = _named(response)
    if not named:
        return ()
    known = {each.get("messageId") for each in orjson.loads(event).get("Records", ())}
    for each in named:
        if not isinstance(each, str) or each not in known:
            raise InvalidBatchResponse(f"batchItemFailures names no record of the batch: {each!r}")
    return tuple(dict.fromkeys(named))


def _named(response: bytes) -> list[Any]:
    try:
        found = orjson.loads(response)
        failures = found.get("batchItemFailures") or [] if isinstance(found, dict) else []
        return [each["itemIdentifier"] for each in failures]
    except orjson.JSONDecodeError as error:
        raise InvalidBatchResponse(f"the response is not JSON: {error}") from None
    except (LookupError, TypeError):
        raise InvalidBatchResponse(
            'batchItemFailures must be [{"itemIdentifier": "..."}, ...]'
        ) from None
