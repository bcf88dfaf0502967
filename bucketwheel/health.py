"""Whether a part of the system is at work on this host, as the system itself sees it."""

from __future__ import annotations

import platform
from typing import Final
from urllib.request import urlopen

from broker.connection import UNAVAILABLE, connect
from broker.liveness import intakes_alive, workers_alive
from broker.settings import BrokerSettings
from bucketwheel.settings import LOOPBACK, UpSettings
from workers.settings import WorkerSettings

#: Seconds for Flower to answer.
_PATIENCE: Final = 5.0


def is_at_work(part: str) -> bool:
    """An intake or a worker has lately renewed its liveness in Redis; Flower answers."""
    if part == "flower":
        return _flower_answers()
    try:
        with connect(BrokerSettings.read()) as redis:
            if part == "intake":
                return platform.node() in intakes_alive(redis)
            return WorkerSettings.read().worker_name in workers_alive(redis)
    except UNAVAILABLE:
        return False


def _flower_answers() -> bool:
    settings = UpSettings.read()
    address = settings.flower_address
    host = LOOPBACK if address.is_unspecified else str(address)
    try:
        with urlopen(f"http://{host}:{settings.flower_port}/healthcheck", timeout=_PATIENCE):
            return True
    except OSError:
        return False
