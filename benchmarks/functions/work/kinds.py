"""Kinds of work, for functions and Celery tasks alike."""

import time
from typing import Any

#: Rounds of a loop that take about 20 ms of a processor.
_ROUNDS = 640_000


def compute(event: dict[str, Any]) -> None:
    """About 60 ms of a processor."""
    for _ in range(3):
        _loop()


def wait(event: dict[str, Any]) -> None:
    """Wait for others, as for a slow answer: 100 to 300 ms."""
    time.sleep(event["seconds"])


def alternate(event: dict[str, Any]) -> None:
    """Twice 20 ms of a processor, each followed by half of the waiting."""
    for _ in range(2):
        _loop()
        time.sleep(event["seconds"] / 2)


def _loop() -> int:
    total = 0
    for number in range(_ROUNDS):
        total += number & 7
    return total
