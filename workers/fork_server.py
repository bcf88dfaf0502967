"""The loop of a process that forks: requests come in, ends of children are told.

Standard library only: the zygote imports it, and each snapshot goes on with it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from workers.zygote_protocol import DESCRIPTORS, MESSAGE, Exited, Forked, Message, read, send

#: What a forked child goes on with.
Become = Callable[[], None]


class ForkServer:
    """Serves one channel, in a process with a single thread."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        #: Each with the user that it is to become, if any.
        self._children: dict[int, int | None] = {}
        self._become: Become | None = None

    def take(self, message: Message, descriptors: list[int]) -> None:
        """Do what is asked; the descriptors are closed afterwards."""
        raise NotImplementedError

    def look(self) -> float | None:
        """Called in each round; returns in how many seconds to do so again, None: not needed."""
        return None

    def serve(self) -> Become | None:
        """Serve until the other end closes; in a forked child, returns what it is to do."""
        woken = self._wake_on_children()
        while True:
            ready, _, _ = select.select([self.channel.fileno(), woken], [], [], self.look())
            if woken in ready:
                os.read(woken, 4096)
                self.reap()
            if self.channel.fileno() in ready:
                data, descriptors, _, _ = socket.recv_fds(self.channel, MESSAGE, DESCRIPTORS)
                if not data:
                    return None
                self.take(read(data), descriptors)
                if self._become is not None:
                    return self._become
                for each in descriptors:
                    os.close(each)

    def fork(self, serial: int, become: Become, uid: int | None = None) -> None:
        """Fork what is to run under a user, and tell; in the child, the loop ends then."""
        try:
            pid = os.fork()
        except OSError as error:
            send(self.channel, Forked(serial, 0, str(error)))
            return
        if pid == 0:
            self._become = become
            return
        self._children[pid] = uid
        send(self.channel, Forked(serial, pid))

    def kill_children_of(self, uid: int) -> None:
        """Kill those that are to run under a user, also who has not become that user yet."""
        for pid, user in self._children.items():
            if user == uid:
                os.kill(pid, signal.SIGKILL)

    def reap(self, silently: bool = False) -> None:
        """Tell of each child that has ended, and end what it has left behind.

        An environment adopts the orphans of its tree; when it ends itself, they become ours.
        """
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            if pid in self._children:
                del self._children[pid]
                if not silently:
                    send(self.channel, Exited(pid, status, usage.ru_maxrss * 1024))
        for orphan in children_now() - self._children.keys():
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)

    @staticmethod
    def _wake_on_children() -> int:
        """A descriptor that can be read when a child has ended."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        return woken


def children_now() -> set[int]:
    """Process ids of all children, adopted ones among them."""
    me = os.getpid()
    for proc in ("/proc", "/view/proc"):
        with suppress(OSError), open(f"{proc}/{me}/task/{me}/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    return set()
