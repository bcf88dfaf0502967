"""Trigger matching: which functions an event record is for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storage.configuration import Trigger


@dataclass(slots=True)
class _Suffixes:
    """Functions by the suffix they ask for, under one bucket, event and prefix."""

    functions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    lengths: tuple[int, ...] = ()

    def add(self, suffix: str, function: str) -> None:
        self.functions[suffix].add(function)
        self.lengths = tuple(sorted({len(known) for known in self.functions}))

    def match(self, key: str) -> Iterable[str]:
        for length in self.lengths:
            if length > len(key):
                return
            yield from self.functions.get(key[len(key) - length :], ())


@dataclass(slots=True)
class _Prefixes:
    """Suffix tables by prefix, under one bucket and event."""

    tables: dict[str, _Suffixes] = field(default_factory=lambda: defaultdict(_Suffixes))
    lengths: tuple[int, ...] = ()

    def add(self, prefix: str, suffix: str, function: str) -> None:
        self.tables[prefix].add(suffix, function)
        self.lengths = tuple(sorted({len(known) for known in self.tables}))

    def match(self, key: str) -> Iterable[str]:
        for length in self.lengths:
            if length > len(key):
                return
            table = self.tables.get(key[:length])
            if table is not None:
                yield from table.match(key)


class TriggerIndex:
    """All triggers, arranged so that a match costs look-ups, not a walk over every trigger.

    A key is cut at each *distinct length* of the known prefixes and suffixes, and each piece is
    looked up; a thousand triggers commonly have a dozen distinct lengths.
    """

    def __init__(self, triggers: Mapping[str, Iterable[Trigger]]) -> None:
        self._tables: dict[tuple[str, str], _Prefixes] = defaultdict(_Prefixes)
        for function, each in triggers.items():
            for trigger in each:
                self._add(function, trigger)

    def _add(self, function: str, trigger: Trigger) -> None:
        for event in trigger.events:
            for suffix in trigger.suffixes or ("",):
                self._tables[trigger.bucket, event].add(trigger.prefix, suffix, function)

    def match(self, bucket: str, event: str, key: str) -> list[str]:
        """Names of the functions this event is for, each once, sorted."""
        table = self._tables.get((bucket, event))
        return sorted(set(table.match(key))) if table else []
