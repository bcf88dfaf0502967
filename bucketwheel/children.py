"""The children of `up`: started in order, watched, restarted, stopped in the reverse order."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bucketwheel.child import Child, ChildSpec
from bucketwheel.errors import StartError

#: Seconds between looks at logs.
TICK: Final = 5.0

Tell = Callable[[str], None]


class Children:
    """Start, run_once, stop; `signals` makes Ctrl-C and SIGTERM count instead of interrupting."""

    def __init__(self, logs: Path, folder: Path, tell: Tell, changed: Callable[[], None]) -> None:
        """`tell` gets a line for people, `changed` is called when a child was restarted."""
        self._logs, self._folder = logs, folder
        self._tell, self._changed = tell, changed
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._asked = 0
        self._looked = 0.0

    @property
    def asked_to_stop(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._asked > 0

    @property
    def hurried(self) -> bool:
        """Whether it has been asked twice."""
        return self._asked > 1

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of those alive."""
        return {each.name: each.pid for each in self._children if each.pid is not None}

    def ask_to_stop(self) -> None:
        """Ask for the end as a signal does."""
        self._asked += 1

    def start(self, spec: ChildSpec) -> Child:
        """Start one more child.

        Raises:
            StartError: its program cannot be run.
        """
        child = Child(spec, self._logs, self._folder)
        child.log.begin()
        child.start()
        self._children.append(child)
        self._watch(child)
        return child

    def run_once(self, longest: float = TICK) -> None:
        """Wait for a signal, the end of a child, or the time of a restart; and act on it."""
        for key, _ in self._selector.select(min(longest, self._next())):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.recv(64)
            else:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        if self.asked_to_stop:
            return
        for child in self._children:
            self._tend(child)
        if time.monotonic() - self._looked > TICK:
            self._looked = time.monotonic()
            for child in self._children:
                child.log.bound()

    def stop(self) -> None:
        """Stop all, last started first; a second Ctrl-C kills what is left. Twice is safe."""
        while self._children:
            child = self._children[-1]
            if not child.stop(lambda: self.hurried):
                self._tell(f"{child.name} had to be killed")
            self._children.pop()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fd)
            if not isinstance(key.fileobj, socket.socket):
                os.close(key.fd)

    def _tend(self, child: Child) -> None:
        how = child.has_ended()
        if how:
            pause = child.postpone()
            self._tell(f"{child.name} {how}; restarting in {pause:g} s; log: {child.log.path}")
            for line in child.log.tail():
                self._tell(f"  {line}")
        elif child.due is not None and child.due <= time.monotonic():
            self._restart(child)

    def _restart(self, child: Child) -> None:
        try:
            child.start()
        except StartError as error:
            self._tell(f"{error}; trying again in {child.postpone():g} s")
            return
        self._watch(child)
        self._tell(f"{child.name} restarted (process {child.pid})")
        self._changed()

    def _watch(self, child: Child) -> None:
        """Have its end wake the loop. pidfd_open(2)."""
        assert child.pid is not None
        self._selector.register(os.pidfd_open(child.pid), selectors.EVENT_READ)

    def _next(self) -> float:
        """Seconds until the next restart is due."""
        now = time.monotonic()
        return max(0.0, min([c.due - now for c in self._children if c.due] or [TICK]))

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While this lasts, SIGINT, SIGTERM and SIGHUP only wake the loop and are counted."""
        reading, writing = socket.socketpair()
        with reading, writing:
            writing.setblocking(False)
            self._selector.register(reading, selectors.EVENT_READ)
            woken = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            before = {each: signal.signal(each, self._count) for each in numbers}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(woken)
                if reading.fileno() in self._selector.get_map():
                    self._selector.unregister(reading)

    def _count(self, *_: object) -> None:
        self._asked += 1
