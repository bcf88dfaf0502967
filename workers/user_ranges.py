"""Users of function versions that have snapshots: each has a range that no other function gets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.sandbox import EnvironmentSpec, Sandbox
    from workers.user_pool import UserPool

#: Function, version, and the variables that it was given: credentials are renewed.
Key = tuple[str, int, frozenset[tuple[str, str]]]


def key_of(spec: EnvironmentSpec) -> Key:
    """What environments must have in common to be forked from one snapshot."""
    configuration = spec.configuration
    return configuration.name, configuration.version, frozenset(spec.variables.items())


def has_snapshot(spec: EnvironmentSpec) -> bool:
    """Whether an environment asks for a snapshot, and its runtime can have one."""
    configuration = spec.configuration
    return configuration.snap_start and configuration.runtime.startswith("python")


@dataclass(slots=True)
class UserRange:
    """The first is the snapshot's, the others are its environments'."""

    users: range
    free: deque[int]
    #: Users in use, the snapshot's among them.
    taken: int = 0


class UserRanges:
    """Gives users out of ranges; a range that nobody uses goes back to the worker's block."""

    def __init__(self, pool: UserPool) -> None:
        self._pool = pool
        self._ranges: dict[Key, UserRange] = {}

    def take(self, spec: EnvironmentSpec) -> int | None:
        """A user for an environment; None: it gets one that belongs to no range."""
        found = self._range(spec) if has_snapshot(spec) else None
        if found is None or not found.free:
            return None
        found.taken += 1
        uid = found.free.popleft()
        self._pool.use(uid)
        return uid

    def take_first(self, spec: EnvironmentSpec) -> range:
        """The users of a snapshot, of which it has the first itself; empty: it has none."""
        found = self._range(spec)
        if found is None:
            return range(0)
        found.taken += 1
        self._pool.use(found.users.start)
        return found.users

    def giver(self, sandbox: Sandbox) -> Callable[[], None] | None:
        """What gives a sandbox's user back, if it is of a range."""
        key = key_of(sandbox.spec)
        found = self._ranges.get(key)
        if found is None or sandbox.uid is None or sandbox.uid not in found.users:
            return None
        return partial(self._give_back, key, sandbox.uid)

    def _range(self, spec: EnvironmentSpec) -> UserRange | None:
        key = key_of(spec)
        if key not in self._ranges:
            try:
                users = self._pool.take_range()
            except OSError:
                return None
            if not users:
                return None
            self._ranges[key] = UserRange(users, deque(users[1:]))
        return self._ranges[key]

    def _give_back(self, key: Key, uid: int) -> None:
        found = self._ranges[key]
        found.taken -= 1
        if uid != found.users.start:
            found.free.append(uid)
        if found.taken == 0:
            del self._ranges[key]
            self._pool.free_range(found.users)
