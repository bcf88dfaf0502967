"""The worker's own users: which of them are in use, and until when something runs under them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from workers import users
from workers.users import Block
from workers.zygote_protocol import End, Ended

log = logging.getLogger("bucketwheel.zygote")


@dataclass(slots=True)
class _Asked:
    """An end that was asked for: the last request of it, and whoever waits for that."""

    serial: int
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class UserPool:
    """Gives users to environments, and takes them back once nothing runs under them.

    Lives on the supervisor's loop. Without a block it gives none.
    """

    def __init__(self, ask: Callable[[End], None]) -> None:
        """`ask` sends a request to the zygote, if there is one."""
        self._ask = ask
        self._block: Block | None = None
        self._serial = 0
        #: Users in use; those that are given up with what is to be done once they are free.
        self._used: dict[int, Callable[[], None] | None] = {}
        self._ending: dict[int, _Asked] = {}
        #: Blocks of workers that have died, until all that runs under them has ended.
        self._left: dict[int, tuple[Block, set[int]]] = {}

    @property
    def is_ending(self) -> bool:
        """Whether anything that was to end may still run."""
        return bool(self._ending)

    @property
    def is_used(self) -> bool:
        """Whether anything may run under one of them."""
        return bool(self._used)

    def begin(self) -> None:
        """Take a block; once there is one, this does nothing.

        Raises:
            OSError: there is none to be had.
        """
        if self._block is None:
            self._block = users.take_block()

    def release(self) -> None:
        """Let others have all of it; nothing runs under them any more."""
        for block, _ in self._left.values():
            block.release()
        if self._block is not None:
            self._block.release()
            self._block = None

    def take(self) -> int | None:
        """A user under whom nothing runs; None: environments have no users of their own.

        Raises:
            OSError: all are in use.
        """
        if self._block is None:
            return None
        uid = self._block.take()
        self.use(uid)
        return uid

    def take_range(self) -> range:
        """Users for a snapshot and its environments; empty where there are no users.

        Raises:
            OSError: all are in use.
        """
        return range(0) if self._block is None else self._block.take_range()

    def use(self, uid: int) -> None:
        """A user of such a range gets an environment."""
        self._used[uid] = None

    def free(self, uid: int, on_free: Callable[[], None] | None = None) -> None:
        """End all that runs under a user, and its /tmp; then it may be used again."""
        assert self._block is not None
        self._used[uid] = on_free or partial(self._block.give_back, uid)
        self.end(uid)

    def free_range(self, uids: range) -> None:
        """Nothing runs under these users any more."""
        if self._block is not None:
            self._block.give_back_range(uids)

    # -- ending ---------------------------------------------------------------------------------

    def end(self, uid: int) -> None:
        """Ask for the end of all that runs under a user; only the answer to the last call counts.

        While there is no process to ask, nothing is sent: the next one is asked when it begins.
        """
        self._serial += 1
        asked = self._ending.setdefault(uid, _Asked(self._serial))
        asked.serial = self._serial
        # The first of a range is a snapshot's, which takes its forks with it.
        whole = uid in self._strays or users.range_of(uid)[0] == uid
        self._ask(End(asked.serial, uid, self._used.get(uid) is not None, whole))

    async def has_ended(self, uid: int) -> None:
        """Wait for the end that was asked for."""
        if uid in self._ending:
            await asyncio.shield(self._ending[uid].done)

    def on_ended(self, message: Ended) -> None:
        """The zygote says that nothing runs under a user any more."""
        uid = message.uid
        asked = self._ending.get(uid)
        if asked is None or asked.serial != message.serial:
            return  # it has been asked for again since
        del self._ending[uid]
        asked.done.set_result(None)
        on_free = self._used.get(uid)
        if on_free is not None:
            del self._used[uid]
            on_free()
        self._forget_left(uid)

    def end_what_is_left(self) -> None:
        """Ask a new zygote: for what the one before has left, and for what dead workers have."""
        if self._block is None:
            return
        for block, running in users.take_left_blocks():
            log.warning("%d users of a dead worker still ran something: it is ended", len(running))
            self._left[block.number] = (block, running)
        for uid in {*self._used, *self._strays}:
            self.end(uid)

    @property
    def _strays(self) -> set[int]:
        """Users of dead workers under whom something still runs."""
        return {uid for _, running in self._left.values() for uid in running}

    def _forget_left(self, uid: int) -> None:
        for number, (block, running) in list(self._left.items()):
            running.discard(uid)
            if not running:
                block.release()
                del self._left[number]
