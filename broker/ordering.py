"""Order by key: of one key's writes, none is delivered after a newer one has been handled.

A function asks for it by `order="key"`; the ledger entries of its invocations then name their key
and their place in the order of its writes, and `order.lua` decides as they begin and end.
"""

from __future__ import annotations

from hashlib import blake2b

from storage.events import EventRecord


def fields(record: EventRecord) -> dict[str, str]:
    """A record's key and place, as fields of the ledger entry; none where the store tells no order.

    All versions of a key are one line.
    """
    if not record.sequencer:
        return {}
    line = blake2b(f"{record.bucket}\0{record.key}".encode(), digest_size=16).hexdigest()
    return {"order": line, "sequencer": place(record.sequencer)}


def place(sequencer: str) -> str:
    """A sequencer, such that the order of texts is that of writes.

    S3's are hexadecimal, and compared once the shorter one has zeros added on the right:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    return sequencer.upper().rstrip("0") or "0"
