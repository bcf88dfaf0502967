"""Which functions are deployed, as callers, intakes and workers are told; the store is the truth.

A generation counts the changes: whoever has read the functions from the store knows by it whether
they are still the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from redis import Redis

from broker import keys
from broker.scripts import Argument, Script
from storage.configuration import FunctionConfiguration


class DeployedFunctions:
    """Tells of functions, and of changes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._announce = Script("announce")

    def generation(self) -> bytes:
        """The count of changes so far; read it before the functions."""
        found: Any = self._redis.get(keys.GENERATION)
        return bytes(found or b"")

    def has(self, name: str) -> bool:
        """Whether a function of that name is deployed."""
        return bool(self._redis.hexists(keys.FUNCTIONS, name))

    def add(self, functions: Iterable[FunctionConfiguration]) -> None:
        """Tell of new versions that are in the store now."""
        versions: Any = {each.name: each.version for each in functions}
        pipeline = self._redis.pipeline()
        if versions:
            pipeline.hset(keys.FUNCTIONS, mapping=versions)
        pipeline.incr(keys.GENERATION)
        pipeline.execute()

    def replace(self, functions: Mapping[str, FunctionConfiguration], generation: bytes) -> None:
        """Tell of all that is in the store, unless that has changed since this generation."""
        arguments: list[Argument] = [generation]
        for name, each in functions.items():
            arguments += (name, each.version)
        self._announce.run(self._redis, *arguments)
