"""Simulated Celery queues, one for each function, and the hosts that consume them."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from benchmarks.simulation.load import Call


class Consumer(Protocol):
    """A host."""

    def wants(self, function: str) -> bool:
        """Whether it takes messages of this function now."""

    def take(self, call: Call) -> None:
        """Here is one."""


class Queues:
    """First come, first served, on both sides: the host that has waited longest gets a message."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[Call]] = {}
        self._consumers: dict[Consumer, None] = {}

    def push(self, call: Call) -> None:
        """A message for whoever wants it."""
        name = call.function.name
        consumer = next((each for each in self._consumers if each.wants(name)), None)
        if consumer is None:
            self._calls.setdefault(name, deque()).append(call)
        else:
            del self._consumers[consumer]
            consumer.take(call)

    def ask(self, consumer: Consumer) -> None:
        """Give a host the next message of a function that it wants, now or once there is one."""
        self._consumers.pop(consumer, None)
        name = next((each for each in self._calls if consumer.wants(each)), None)
        if name is None:
            self._consumers[consumer] = None
            return
        calls = self._calls.pop(name)
        call = calls.popleft()
        if calls:
            self._calls[name] = calls  # at the end: functions take turns
        consumer.take(call)

    def waiting(self, function: str) -> int:
        """Messages that no host has."""
        return len(self._calls.get(function, ()))
