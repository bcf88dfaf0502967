"""Cold starts of functions, and fresh processes that load the same."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson
from pydantic import SecretStr

from benchmarks.system import System
from broker.calls import Calls
from broker.settings import BrokerSettings

FRESH: Final = 10
#: Environments of a function that are started one after the other, and seconds between two.
MORE: Final = 8
PAUSE: Final = 1.0
_PATIENCE: Final = 60.0


def calls_of(running: System) -> Calls:
    """Calls by hand."""
    return Calls(BrokerSettings(redis_url=SecretStr(running.instance.redis_url)))


def entered(calls: Calls, function: str, event: dict[str, Any] | None = None) -> float:
    """Seconds from just before an invocation is queued until its handler was entered.

    The handler returns the moment.
    """
    start = time.time()
    response = calls.invoke(function, orjson.dumps(event or {}), _PATIENCE)
    return float(orjson.loads(response)) - start


def one_more(running: System, function: str) -> float:
    """Milliseconds until one environment more has entered its handler, the median.

    All earlier ones stay at work meanwhile. The very first is left out: what is made for all of
    them, credentials and snapshot, is made then.
    """
    calls, stay = calls_of(running), {"seconds": PAUSE * (MORE + 2)}
    before = running.count(function, "cold_starts")
    with ThreadPoolExecutor(MORE + 1) as threads:
        found = []
        for _ in range(MORE + 1):
            found.append(threads.submit(entered, calls, function, stay))
            time.sleep(PAUSE)
        took = [each.result() for each in found]
    cold = running.count(function, "cold_starts") - before
    if cold != MORE + 1:
        raise RuntimeError(f"{cold} cold starts of {function} were counted, not {MORE + 1}")
    return 1000 * statistics.median(took[1:])


def fresh(command: Sequence[str]) -> float:
    """Milliseconds from before a process is started until it prints `time.time()`, the median."""
    took = []
    for _ in range(FRESH + 1):
        start = time.time()
        done = subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE)
        took.append(float(done.stdout) - start)
    return 1000 * statistics.median(took[1:])  # the first one reads the files
