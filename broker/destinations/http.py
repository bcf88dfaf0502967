"""The destination `http(s)://…`: an address to which records are posted."""

from __future__ import annotations

from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from broker.errors import DeliveryFailed
from broker.outbox import Outbox, Outgoing

#: Seconds for a connection, and for each piece of an answer's head. Its body is not read.
_TIMEOUT: Final = urllib3.Timeout(connect=3.0, read=10.0)


class HttpDestination:
    """Posts JSON. Taken is what is answered with a status of 200 to 299; nothing is followed."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)

    def deliver(self, outgoing: Outgoing) -> None:
        """POST."""
        status = self._post(outgoing)
        if 300 <= status < 400:
            raise DeliveryFailed(f"it answered {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise DeliveryFailed(f"it answered {status}")
        self._outbox.delivered(outgoing)

    def _post(self, outgoing: Outgoing) -> int:
        headers = {"Content-Type": "application/json", "User-Agent": "bucketwheel"}
        try:
            response = self._http.request(
                "POST",
                outgoing.destination,
                body=outgoing.record,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            raise DeliveryFailed(f"it cannot be reached: {type(error).__name__}") from None
        response.close()
        return response.status
