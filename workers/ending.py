"""Ending all that runs under a user: the kernel kills it in one call, and nothing outruns that.

Standard library only: the zygote imports it. kill(2) with -1 reaches whatever the caller may
signal. The caller is a single-threaded root process that puts on the victim's effective user; its
real user is one that the victim may not signal in return, its saved one root, to come back.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from workers import linux, users


class Refused(Exception):
    """Raised when killing would reach what is not ours: nothing was killed."""


def check() -> None:
    """Whether this process may kill so at all.

    Raises:
        Refused: it would keep root's rights under another user (capabilities(7), securebits), or
            there are no such users in its user namespace, as in a container without root's rights.
    """
    if not _are_mapped():
        raise Refused(f"no users from {users.LOW} to {users.HIGH - 1} exist in this container")
    if os.geteuid() != 0 or linux.prctl(linux.PR_GET_SECUREBITS) != 0:
        raise Refused("this process keeps its capabilities when it changes its user")


def _are_mapped() -> bool:
    """user_namespaces(7): each line of the map has a first number, what it stands for, a count."""
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        ranges = [[int(each) for each in line.split()] for line in file]
    return any(first <= users.LOW and first + count >= users.HIGH for first, _, count in ranges)


def end_all(uid: int) -> None:
    """Kill all that runs under a user.

    Raises:
        Refused: it is no environment's user, or more than its processes would be reached.
    """
    if not users.may_end(uid):
        raise Refused(f"{uid} is no environment's user")
    os.setresuid(users.killer(uid), uid, 0)
    try:
        _check_reach(uid)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    finally:
        os.setresuid(0, 0, 0)


def _check_reach(uid: int) -> None:
    """Be sure that root's rights are gone: the first process of all must be out of reach."""
    if os.getresuid() != (users.killer(uid), uid, 0):
        raise Refused("this process could not change its user")
    try:
        os.kill(1, 0)
    except PermissionError:
        return
    raise Refused("this process still has root's rights")


@dataclass(frozen=True, slots=True)
class Ending:
    """A user whose processes are to end."""

    uid: int
    #: The last request of it.
    serial: int
    #: Whether the user's /tmp is to go as well.
    close: bool


class Endings:
    """Users whose processes are to end, until none is left."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._by_user: dict[int, Ending] = {}

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def add(self, ending: Ending) -> None:
        """Begin, or go on for a later request."""
        self._by_user[ending.uid] = ending

    def take_ended(self) -> list[Ending]:
        """Kill once more, and forget those under whom nothing is left."""
        for uid in self._by_user:
            end_all(uid)
        left = {uid for _, uid in users.running(self._proc)} if self._by_user else set()
        ended = [each for each in self._by_user.values() if each.uid not in left]
        for each in ended:
            del self._by_user[each.uid]
        return ended
