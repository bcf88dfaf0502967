"""Users that nobody has: numbers of which this worker gives each environment one of its own.

Standard library only: the zygote imports it. The range is one that systemd's table of users leaves
free (https://systemd.io/UIDS-GIDS/, 0x70000000 and up). A worker takes a block of it; who holds a
block is bound to an abstract socket (unix(7)) of the block's name, which ends with its holder.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

LOW: Final = 0x7000_0000
#: Users of one block. The first is nobody's: who kills wears it.
SIZE: Final = 65_536
BLOCKS: Final = 2_048
HIGH: Final = LOW + SIZE * BLOCKS
#: Users of one snapshot: its own, and those of its environments.
RANGE: Final = 256


def may_end(uid: int) -> bool:
    """Whether a user's processes may be killed: environments' users alone."""
    return LOW <= uid < HIGH and uid % SIZE != 0


def killer(uid: int) -> int:
    """The block's user that kills the others: none of them may signal it."""
    return uid - uid % SIZE


def range_of(uid: int) -> range:
    """The users of the snapshot whose range has this one; itself alone, if none has."""
    if uid % SIZE < SIZE // 2:
        return range(uid, uid + 1)
    first = uid - uid % RANGE
    return range(first, first + RANGE)


class Block:
    """Users of this worker; only its holder may run or end anything under them."""

    def __init__(self, number: int) -> None:
        """Take a block.

        Raises:
            OSError: another worker of this host holds it (EADDRINUSE).
        """
        self._holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._holder.bind(f"\0bucketwheel-users-{number}")
        except OSError:
            self._holder.close()
            raise
        self.number = number
        first = LOW + number * SIZE
        self._single = deque(range(first + 1, first + SIZE // 2))
        self._ranges = deque(range(first + SIZE // 2, first + SIZE, RANGE))

    def release(self) -> None:
        """Let others have it; releasing twice is safe."""
        self._holder.close()

    def take(self) -> int:
        """A user under whom nothing runs; those given back last are given out last.

        Raises:
            OSError: all are in use.
        """
        if not self._single:
            raise OSError(errno.EAGAIN, "every user of this worker's block runs an environment")
        return self._single.popleft()

    def take_range(self) -> range:
        """So many users for the environments of one function version.

        Raises:
            OSError: all are in use.
        """
        if not self._ranges:
            raise OSError(errno.EAGAIN, "every range of this worker's users is in use")
        first = self._ranges.popleft()
        return range(first, first + RANGE)

    def give_back(self, uid: int) -> None:
        """Nothing runs under it any more."""
        self._single.append(uid)

    def give_back_range(self, users: range) -> None:
        """Nothing runs under them any more."""
        self._ranges.append(users.start)


def take_block() -> Block:
    """A block that nobody holds, and under whose users nothing runs.

    Raises:
        OSError: there is none.
    """
    taken = {(uid - LOW) // SIZE for _, uid in running()}
    for number in random.sample(range(BLOCKS), BLOCKS):
        if number not in taken and (block := _try(number)) is not None:
            return block
    raise OSError(errno.EAGAIN, "every block of users is held by another worker of this host")


def take_left_blocks() -> Iterator[tuple[Block, set[int]]]:
    """Blocks whose worker has died, each with the users that still run something."""
    left: dict[int, set[int]] = {}
    for number, uid in _used_here():
        left.setdefault(number, set()).add(uid)
    for number, users in left.items():
        block = _try(number)
        if block is not None:
            yield block, users


def user_of(pid: int, proc: str = "/proc") -> int:
    """The effective user of a process: its folder's owner, proc(5).

    Raises:
        OSError: it has ended.
    """
    return os.stat(f"{proc}/{pid}").st_uid


def _try(number: int) -> Block | None:
    try:
        return Block(number)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None


def running(proc: str = "/proc") -> Iterator[tuple[int, int]]:
    """Each process that runs under an environment's user, be it dead and unreaped: id and user."""
    for name in os.listdir(proc):
        if name.isdigit():
            with suppress(OSError):  # it has ended
                uid = user_of(int(name), proc)
                if may_end(uid):
                    yield int(name), uid


def _used_here() -> Iterator[tuple[int, int]]:
    """Block and user of each process of this network that runs under one.

    A socket's name, by which a block is held, is known within one network namespace only.
    """
    network = os.readlink("/proc/self/ns/net")
    for pid, uid in running():
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") == network:
                yield (uid - LOW) // SIZE, uid
