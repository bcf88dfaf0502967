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
    return any(
        first <= users.LOW and first + count >= users.HIGH for first, _, count in _user_map("/proc")
    )


def _user_map(proc: str) -> list[list[int]]:
    """user_namespaces(7): each line has a first number, what it stands for outside, and a count."""
    with open(f"{proc}/self/uid_map", encoding="utf-8") as file:
        return [[int(each) for each in line.split()] for line in file]


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
    if not _is_out_of_reach(1):
        raise Refused("this process still has root's rights")


def end_namespace(pid: int, own: range, proc: str) -> None:
    """Kill all that runs in the user namespace of a process, if that has these users alone.

    Its code may change from one of the namespace's users to another, faster than these could be
    ended one by one. Who joins it as its root may signal what is in it (CAP_KILL), and no more.
    """
    try:
        namespace = os.open(f"{proc}/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # it has ended
    killer = os.fork()
    if killer == 0:
        os._exit(_end_from_within(namespace, own, proc))
    os.close(namespace)
    os.waitpid(killer, 0)


def is_in_namespace(pid: int, proc: str) -> bool:
    """Whether a process is in another user namespace than we are."""
    with suppress(OSError):
        found = os.stat(f"{proc}/{pid}/ns/user")
        return found.st_ino != os.stat(f"{proc}/self/ns/user").st_ino
    return False


def _end_from_within(namespace: int, own: range, proc: str) -> int:
    """In a forked child: become the namespace's root, and kill all that it reaches.

    The process may have ended, and another have got its number: so it is looked at whose users
    these are, and that neither root's processes nor our parent can be reached.
    """
    try:
        linux.join_user_namespace(namespace)
        if _user_map(proc) != [[0, own.start, len(own)]]:
            return 1
        os.setresuid(0, 0, 0)
    except OSError:
        return 1
    if not (_is_out_of_reach(1) and _is_out_of_reach(os.getppid())):
        return 1
    os.kill(-1, signal.SIGKILL)
    return 0


def _is_out_of_reach(pid: int) -> bool:
    """Whether this process may not signal another, which is there."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


@dataclass(frozen=True, slots=True)
class Ending:
    """A user whose processes are to end."""

    uid: int
    #: The last request of it.
    serial: int
    #: Whether the user's /tmp is to go as well.
    close: bool
    #: Whether all of its user namespace is to end.
    whole: bool


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
        running = list(users.running(self._proc)) if self._by_user else []
        ended = [each for each in self._by_user.values() if not self._is_left(each, running)]
        for each in ended:
            del self._by_user[each.uid]
        return ended

    def _is_left(self, ending: Ending, running: list[tuple[int, int]]) -> bool:
        """Whether anything still runs; the rest of a namespace is killed on the way."""
        own = users.range_of(ending.uid) if ending.whole else range(0)
        others = [pid for pid, uid in running if uid in own]
        members = [pid for pid in others if is_in_namespace(pid, self._proc)]
        for pid in members[:1]:
            end_namespace(pid, own, self._proc)
        return bool(members) or any(uid == ending.uid for _, uid in running)
