"""One run of a function's runtime: a process tree with its log and its memory.

An environment has one at a time; after a crash or a timeout it gets another.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

from workers.function_log import LogPipe
from workers.memory import TICK, Memory
from workers.sandbox import Sandbox, Sandboxes
from workers.zygote import Forker, ForkRequest

#: Seconds between SIGTERM and SIGKILL: AWS gives a runtime 300 ms and its extensions 200 more.
GRACE: Final = 0.5
#: Seconds after which what was killed and has not ended is killed again: a snapshot's fork that had
#: not become its user yet was missed.
AGAIN: Final = 1.0

#: Called once the process has ended, with its wait status.
Ended = Callable[[int], None]
#: Called once when it has outgrown a limit, with the limit's name.
Exceeded = Callable[[str], None]


class RuntimeProcess:
    """Lives on the supervisor's loop."""

    def __init__(
        self, sandbox: Sandbox, sandboxes: Sandboxes, forker: Forker, on_end: Ended
    ) -> None:
        self.pid = 0
        self._sandbox = sandbox
        self._sandboxes = sandboxes
        self._forker = forker
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.log = LogPipe(self._loop)
        self.memory = Memory(sandbox.spec.configuration.memory)
        self._watch: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        #: Whether it is to be killed as soon as it is known.
        self._doomed = False

    async def start(self, request: ForkRequest) -> None:
        """Fork it; `pid` is known from then on.

        Raises:
            OSError, ZygoteLost: nothing could be forked.
        """
        try:
            self.pid = await self._forker.fork(request, self.log.write_end, self._end)
        except BaseException:
            self.log.close()
            raise
        self.log.close_write_end()
        self.memory.open(self.pid)
        if self._doomed:
            self.kill()

    @property
    def was_out_of_memory(self) -> bool:
        """Whether the kernel has ended it for its memory."""
        return self._sandboxes.was_out_of_memory(self._sandbox)

    def watch(self, on_exceeded: Exceeded) -> None:
        """Look at its limits every now and then from here on, until `rest`."""
        self.rest()
        self._watch = self._loop.call_later(TICK, self._look, on_exceeded)

    def rest(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def kill(self) -> None:
        """End the tree, and whatever has left it; before its fork, as soon as that is known."""
        self.rest()
        self._doomed = True
        if self.pid and not self._ended.is_set():
            self._forker.kill(self._sandbox, self.pid)
            self._loop.call_later(AGAIN, self.kill)

    async def stop(self) -> None:
        """SIGTERM, and after a moment SIGKILL; returns once it has gone."""
        if not self.pid or self._ended.is_set():
            return
        _terminate(self.pid)
        try:
            await asyncio.wait_for(self._ended.wait(), GRACE)
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    def _look(self, on_exceeded: Exceeded) -> None:
        over = self.memory.is_over()
        limit = "memory" if over else self._sandboxes.exceeded(self._sandbox, self.pid)
        if limit:
            on_exceeded(limit)
        else:
            self.watch(on_exceeded)

    def _end(self, status: int, peak: int) -> None:
        """The zygote has reaped it: by itself, or because it was killed."""
        self.rest()
        self._forker.kill(self._sandbox, self.pid)  # what the main process has left behind
        self.memory.saw(peak)
        self.memory.close()
        self._ended.set()
        self._on_end(status)
        self.log.close()


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
