"""The age of an event: how long an invocation that nobody waits for may be on its way.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

from typing import Final

from broker.invocation import FunctionFault

#: AWS's word, of the fault and of the destination record's condition.
EVENT_AGE_EXCEEDED: Final = "EventAgeExceeded"
#: Seconds that AWS allows at most; also of functions that are not deployed any more.
LONGEST: Final = 21_600


def exceeded(maximum: int) -> FunctionFault:
    """The fault of an invocation that is older than so many seconds."""
    return FunctionFault(
        EVENT_AGE_EXCEEDED,
        f"the event is older than {maximum:,} s, the function's maximum event age",
    )
