"""The destination `s3://BUCKET/PREFIX`: an object for each record, written with the function's
own rights.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from broker.errors import DeliveryFailed
from broker.outbox import Outbox, Outgoing
from storage.configuration import FunctionConfiguration
from storage.errors import StorageError
from storage.role_client import RoleClient
from storage.settings import StorageSettings


class S3Destination:
    """Puts `<prefix>/<yyyy>/<mm>/<dd>/<id>.json`; put again, it is the same object."""

    def __init__(
        self,
        outbox: Outbox,
        settings: StorageSettings,
        load: Callable[[str], FunctionConfiguration],
    ) -> None:
        self._outbox = outbox
        self._client = RoleClient(settings)
        self._load = load

    def deliver(self, outgoing: Outgoing) -> None:
        """PUT."""
        bucket, key = _place(outgoing)
        try:
            configuration = self._load(outgoing.function)
            self._client.put_json(configuration, bucket, key, outgoing.record)
        except StorageError as error:
            raise DeliveryFailed(str(error)) from None
        self._outbox.delivered(outgoing)


def _place(outgoing: Outgoing) -> tuple[str, str]:
    """Bucket and key; the day is that of the invocation's end."""
    bucket, _, prefix = outgoing.destination.removeprefix("s3://").partition("/")
    day = str(orjson.loads(outgoing.record)["timestamp"])[:10].replace("-", "/")
    folder = prefix.rstrip("/")
    return bucket, f"{folder}/{day}/{outgoing.id}.json".lstrip("/")
