"""A process that forks environments, seen from the worker: asks it, hears of ends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from workers.errors import ZygoteLost
from workers.zygote_protocol import (
    DESCRIPTORS,
    MESSAGE,
    Ended,
    Exited,
    Forked,
    Lent,
    Message,
    Ready,
    read,
    send,
)

#: Called with the wait status of a process that has ended, and its peak resident size in bytes.
Exit = Callable[[int, int], None]

KILLED: Final = 9
#: Bytes that no process has: a snapshot may tell any number.
_MOST: Final = 1 << 44


class Channel:
    """One socket pair; lives on the supervisor's loop. Its other end may run a user's code."""

    def __init__(
        self,
        on_lost: Callable[[], None],
        on_ended: Callable[[Ended], None],
        *,
        takes_descriptors: bool,
    ) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._ours, self.theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE)
        self._ours.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours.fileno(), self._hear)
        self._on_lost, self._on_ended = on_lost, on_ended
        self._descriptors = DESCRIPTORS if takes_descriptors else 0
        self._serial = 0
        self._forks: dict[int, tuple[asyncio.Future[int], Exit]] = {}
        self._loans: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, Exit] = {}
        self._open = True
        #: Why it can fork nothing; empty: it can.
        self.ready: asyncio.Future[str] = self._loop.create_future()

    @property
    def forks(self) -> int:
        """Processes that it has forked and that live, or are being forked."""
        return len(self._exits) + len(self._forks)

    def next_serial(self) -> int:
        """A number for one more request."""
        self._serial += 1
        return self._serial

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message that has no answer of its own.

        Raises:
            ZygoteLost: nobody takes it.
        """
        try:
            send(self._ours, message, descriptors)
        except OSError as error:
            raise ZygoteLost(f"the zygote does not take requests: {error}") from error

    async def fork(
        self, serial: int, message: Message, descriptors: tuple[int, ...], on_exit: Exit
    ) -> int:
        """Ask for a process; returns its id.

        Raises:
            ZygoteLost: the other side has gone, or could not fork.
        """
        forked: asyncio.Future[int] = self._loop.create_future()
        self._forks[serial] = (forked, on_exit)
        try:
            self.send(message, descriptors)
        except ZygoteLost:
            self._forks.pop(serial, None)
            raise
        return await forked

    async def borrow(self, serial: int, message: Message) -> int:
        """Ask for a descriptor.

        Raises:
            ZygoteLost: the other side has gone, or has none to give.
        """
        lent: asyncio.Future[int] = self._loop.create_future()
        self._loans[serial] = lent
        try:
            self.send(message)
        except ZygoteLost:
            self._loans.pop(serial, None)
            raise
        return await lent

    def close(self) -> None:
        """Close, and tell everyone who waits for an answer or an end; closing twice is safe."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._ours.fileno())
        self._ours.close()
        self.theirs.close()
        lost = ZygoteLost("the zygote has gone")
        waiting = [forked for forked, _ in self._forks.values()] + list(self._loans.values())
        for each in waiting:
            if not each.done():
                each.set_exception(lost)
        if not self.ready.done():
            self.ready.set_result("it has ended before it was ready")
        exits, self._exits, self._forks = list(self._exits.values()), {}, {}
        for on_exit in exits:
            self._loop.call_soon(on_exit, KILLED, 0)

    def _hear(self) -> None:
        while self._open:
            try:
                data, descriptors = self._receive()
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._on_lost()
                return
            try:
                self._tell(read(data), descriptors)
            except (ValueError, LookupError):
                self._on_lost()  # it speaks no sense
            for each in descriptors:  # nobody has taken them
                os.close(each)

    def _receive(self) -> tuple[bytes, list[int]]:
        """A packet; descriptors that nobody asked for are closed by the kernel."""
        if not self._descriptors:
            return self._ours.recv(MESSAGE), []
        data, descriptors, _, _ = socket.recv_fds(self._ours, MESSAGE, self._descriptors)
        return data, descriptors

    def _tell(self, message: Message, descriptors: list[int]) -> None:
        """Raises LookupError or ValueError when nobody has asked for that."""
        if isinstance(message, Exited):
            on_exit = self._exits.pop(message.pid)
            # In a moment: whoever asked for the process may not have gone on with its answer yet.
            peak = min(max(message.peak, 0), _MOST)
            self._loop.call_soon(on_exit, _plausible(message.status), peak)
        elif isinstance(message, Forked):
            self._on_forked(message)
        elif isinstance(message, Lent):
            self._on_lent(message, descriptors)
        elif isinstance(message, Ended):
            self._on_ended(message)
        elif isinstance(message, Ready) and not self.ready.done():
            self.ready.set_result(message.refused)
        else:
            raise ValueError(f"nobody has asked for {message}")

    def _on_lent(self, message: Lent, descriptors: list[int]) -> None:
        lent = self._loans.pop(message.serial)
        if lent.done():
            return
        if descriptors:
            lent.set_result(descriptors.pop())
        else:
            lent.set_exception(ZygoteLost(message.error))

    def _on_forked(self, message: Forked) -> None:
        forked, on_exit = self._forks.pop(message.serial)
        if message.error or message.pid <= 1:
            error = ZygoteLost(f"no environment can be forked: {message.error}")
            if not forked.done():
                forked.set_exception(error)
            return
        self._exits[message.pid] = on_exit
        if not forked.done():
            forked.set_result(message.pid)


def _plausible(status: int) -> int:
    """A wait status, wait(2); what is none counts as killed."""
    is_one = 0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status))
    return status if is_one else KILLED
