"""Who wrote an object, when it was a function."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from storage.events import EventRecord
from storage.roles import function_of

#: What AWS's SDKs make of AWS_SDK_UA_APP_ID, which is the environment's id.
_APPLICATION: Final = re.compile(r"\bapp/([0-9a-f]{32})\b")


@dataclass(frozen=True, slots=True)
class Writer:
    """A function, at some moment, in some environment."""

    function: str
    #: Empty where the client does not name it.
    environment: str
    #: Milliseconds by the store's clock; None where the store does not tell.
    moment: int | None


def writer(record: EventRecord) -> Writer | None:
    """The function that wrote; the store knows it by its user, whatever client it used."""
    function = function_of(record.principal)
    if not function:
        return None
    named, written = _APPLICATION.search(record.user_agent), record.written
    return Writer(
        function,
        named.group(1) if named else "",
        None if written is None else round(written.timestamp() * 1000),
    )
