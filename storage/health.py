"""The health of the store's event target, by MinIO's own metrics.

https://docs.min.io/community/minio-object-store/reference/minio-metrics-and-alerts.html: version 2,
of the node that is asked; its notification metrics are up to 10 s old.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import jwt
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from storage.client import asking
from storage.errors import StoreUnavailable
from storage.rules import TARGET
from storage.settings import StorageSettings

_PATH: Final = "/minio/v2/metrics/node"
_STARTED: Final = "minio_process_start_time_seconds"
_TARGET: Final = "minio_notify_target_"
_SKIPPED: Final = "minio_notify_events_skipped_total"
#: Seconds for which a token is good: it is made anew for each request, and clocks may differ.
_TOKEN: Final = 3_600
#: A look must not outlast the pause between looks by much.
_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=5.0)


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What the store's server says of itself at one moment."""

    #: By the store's clock, to the second.
    now: datetime
    #: Seconds since 1970 at which its process began.
    started: float
    #: Events that its target of ours has taken since then: told, or lying in the queue folder.
    taken: int
    #: Events that have been lost since then: they could be neither told nor kept.
    lost: int
    #: Events that lie in the queue folder.
    queued: int

    @property
    def uptime(self) -> float:
        """Seconds since its process began."""
        return self.now.timestamp() - self.started


class HealthReader:
    """Asks the server for its health."""

    def __init__(self, settings: StorageSettings) -> None:
        self._url = str(settings.s3_endpoint).rstrip("/") + _PATH
        self._settings = settings
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)

    def read(self) -> StoreHealth:
        """Ask now.

        Raises:
            StoreUnavailable: it refused, did not answer, or answers without what is needed.
        """
        with asking("reading the object store's metrics"):
            headers = {"Authorization": f"Bearer {self._token()}"}
            response = self._http.request("GET", self._url, headers=headers)
        if response.status != 200:
            raise StoreUnavailable(
                f"the object store answers {response.status} to {_PATH}: the access key of"
                " BUCKETWHEEL_S3_ACCESS_KEY needs the right admin:Prometheus"
            )
        now = parsedate_to_datetime(response.headers["Date"])
        return _health(now, response.data.decode())

    def _token(self) -> str:
        """As `mc admin prometheus generate` makes it."""
        key = self._settings.s3_access_key
        claims = {"exp": int(time.time()) + _TOKEN, "sub": key, "iss": "prometheus"}
        secret = self._settings.s3_secret_key.get_secret_value()
        return jwt.encode(claims, secret, algorithm="HS256")


def _health(now: datetime, text: str) -> StoreHealth:
    found = _values(text.splitlines())
    if _STARTED not in found:
        raise StoreUnavailable(f"the object store's metrics have no {_STARTED}")
    failed = found.get(f"{_TARGET}failed_events", 0)
    return StoreHealth(
        now=now,
        started=found[_STARTED],
        taken=int(found.get(f"{_TARGET}total_events", 0) - failed),
        lost=int(failed + found.get(_SKIPPED, 0)),
        queued=int(found.get(f"{_TARGET}queue_length", 0)),
    )


def _values(lines: Iterable[str]) -> dict[str, float]:
    """The values we need; the counters of other targets are left out."""
    ours = "\n".join(each for each in lines if each.startswith((_STARTED, _TARGET, _SKIPPED)))
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(ours + "\n")
        for sample in family.samples
        if sample.labels.get("target_id", TARGET) == TARGET
    }
