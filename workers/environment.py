"""An execution environment: one process tree that runs one function version, reached by the
Lambda Runtime API, one invocation at a time.

    starting ── next ──► idle ── invoke ──► busy ── response, next ──► idle
        └── init error, init time over ──┐    └── deadline, exit, memory ──┐
                                         ▼                                ▼
                                        dead ◄────────── stop ───────── idle
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final, Literal, Protocol

import orjson

from broker.invocation import FunctionFault, Invocation, Outcome
from workers import contract, faults
from workers.function_log import LogPipe, closing_lines, start_line, timeout_line
from workers.memory import TICK, Memory
from workers.process import kill_tree, name_of
from workers.runtime_api import Connection
from workers.runtimes import runtime
from workers.sandbox import EnvironmentSpec, Sandbox, Sandboxes
from workers.zygote import ForkRequest, Zygote

#: Seconds of initialisation, by AWS's lifecycle.
INIT_TIMEOUT: Final = 10.0
#: Seconds that a runtime may take to end once it has told that initialisation failed.
LAST_WORDS: Final = 1.0

State = Literal["starting", "idle", "busy", "dead"]


class EnvironmentListener(Protocol):
    """Who hears of an environment's changes."""

    def on_idle(self, environment: Environment) -> None:
        """The runtime asks for an invocation."""

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """Its invocation has ended."""

    def on_exit(
        self, environment: Environment, fault: FunctionFault | None, log: tuple[str, ...]
    ) -> None:
        """It has gone; the fault is told when it went by itself before it could take any work."""


class Environment:
    """Lives on the supervisor's loop."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        zygote: Zygote,
        sandboxes: Sandboxes,
        listener: EnvironmentListener,
    ) -> None:
        self.spec = spec
        self.state: State = "starting"
        self.pid = 0
        self.last_used = time.monotonic()
        self._zygote = zygote
        self._sandboxes = sandboxes
        self._sandbox: Sandbox | None = None
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._log = LogPipe(self._loop)
        self._memory = Memory(spec.configuration.memory)
        self._server: asyncio.Server | None = None
        self._next: Connection | None = None
        self._invocation: Invocation | None = None
        self._started = self._begun = 0.0
        #: Milliseconds of initialisation, until an invocation has been charged with them.
        self._init_ms: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        #: Why it is going, once that is decided.
        self._death: FunctionFault | None = None
        self._dead = asyncio.Event()

    # -- what the supervisor asks ---------------------------------------------------------------

    async def start(self) -> None:
        """Fork it; it reports by `on_idle`, or by `on_exit` with its fault.

        Raises:
            OSError: no folder, port or pipe could be had.
            ZygoteLost: nothing could be forked.
        """
        try:
            self._sandbox = self._sandboxes.open(self.spec)
            self._server = await self._loop.create_server(
                lambda: Connection(self), "127.0.0.1", 0, backlog=16
            )
            self._started = time.monotonic()
            self.pid = await self._zygote.fork(
                self._request(), self._log.write_end, self._on_process_end
            )
        except BaseException:
            self._release()
            raise
        self._log.close_write_end()
        self._memory.open(self.pid)
        self._deadline = self._loop.call_later(INIT_TIMEOUT, self._on_init_timeout)

    def invoke(self, invocation: Invocation) -> None:
        """Give it an invocation; only when it is idle."""
        assert self.state == "idle" and self._next is not None
        self.state, self._invocation = "busy", invocation
        connection, self._next = self._next, None
        self._begun = self.last_used = time.monotonic()
        timeout = self.spec.configuration.timeout
        self._deadline = self._loop.call_later(timeout, self._on_deadline)
        self._memory_timer = self._loop.call_later(TICK, self._watch_memory)
        connection.send(200, invocation.event, contract.headers(invocation, self.spec))

    def kill(self, fault: FunctionFault) -> None:
        """End the whole tree now; an invocation in hand ends with this fault."""
        if self.state != "dead" and self._death is None:
            self._death = fault
            self._kill()

    async def stop(self) -> None:
        """End the whole tree, and what it had on disk; stopping twice is safe.

        At once, as Lambda does with an environment that has no extensions.
        """
        if self.pid and self.state != "dead":
            self.kill(FunctionFault("Stopped", "the environment was stopped"))
            await self._dead.wait()
        self._release()

    def is_spare(self) -> None:
        """Nobody has waited for its start, so that its first invocation is no cold start."""
        self._init_ms = None

    # -- what the runtime tells (runtime_api.Runtime) -------------------------------------------

    def on_next(self, connection: Connection) -> None:
        """The runtime is ready for an invocation."""
        if self.state == "starting":
            self._init_ms = (time.monotonic() - self._started) * 1000
            self._stop_timers()
        elif self.state != "idle" or self._next is not None:
            connection.send(403, b'{"errorType":"InvalidStateTransition"}')
            return
        self._next, self.state = connection, "idle"
        self.last_used = time.monotonic()
        if self._death is None:
            self._listener.on_idle(self)

    def on_response(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's response; a failure in mid-stream comes in a trailer."""
        status = self._expect(id)
        if status != 202:
            return status
        failed = headers.get("lambda-runtime-function-error-type")
        if failed is not None:
            self._finish(None, faults.broken_off(failed))
        elif self._is_awaited and not _is_json(body):
            self._finish(None, faults.not_json())
        else:
            self._finish(body, None)
        return 202

    def on_error(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's error."""
        status = self._expect(id)
        if status == 202:
            self._finish(None, faults.posted(body, headers))
        return status

    def on_too_large(self, id: str) -> None:
        """The response, or the error's report, was over the quota."""
        if self._expect(id) == 202:
            self._finish(None, faults.too_large())

    def on_init_error(self, body: bytes, headers: dict[str, str]) -> int:
        """The module could not be imported, or has no such handler."""
        if self.state != "starting":
            return 403
        self._death = faults.posted(body, headers)
        self._stop_timers()
        self._deadline = self._loop.call_later(LAST_WORDS, self._kill)
        return 202

    # -- ends -----------------------------------------------------------------------------------

    def _expect(self, id: str) -> int:
        if self.state != "busy" or self._invocation is None or self._death is not None:
            return 403
        return 202 if id == self._invocation.id else 400

    @property
    def _is_awaited(self) -> bool:
        """Whether somebody reads the response: Python's runtime may write NaN, which is no JSON."""
        return self._invocation is not None and self._invocation.reply

    def _finish(self, response: bytes | None, fault: FunctionFault | None) -> None:
        """End the invocation in hand, and tell."""
        invocation, self._invocation = self._invocation, None
        assert invocation is not None
        self._stop_timers()
        self.state, self.last_used = "idle", time.monotonic()
        self._memory.look()
        outcome = Outcome(
            invocation=invocation,
            response=response,
            fault=fault,
            duration_ms=(self.last_used - self._begun) * 1000,
            max_memory_mb=self._memory.peak_mb,
            init_ms=self._init_ms,
            version=self.spec.configuration.version,
            environment=self.spec.id,
        )
        self._init_ms = None
        self._listener.on_outcome(self, self._logged(outcome))

    def _logged(self, outcome: Outcome) -> Outcome:
        """The outcome with its log: START, what was printed, END, REPORT."""
        configuration = self.spec.configuration
        start = start_line(outcome.invocation, configuration)
        printed, closing = self._log.take(), closing_lines(outcome, configuration)
        return replace(outcome, log=(start, *printed, *closing))

    def _on_process_end(self, status: int, peak: int) -> None:
        """The zygote has reaped it: by itself, or because it was killed."""
        if self.state == "dead":
            return
        self._sweep()
        self._memory.saw(peak)
        died_starting, fault = self.state == "starting", self._death
        if self._invocation is not None:
            self._finish(None, fault or faults.exited(self._invocation.id, status))
        log = self._log.take()
        self._release()
        self._dead.set()
        if died_starting:
            fault = fault or faults.exited(self.spec.id, status)
        self._listener.on_exit(self, fault if died_starting else None, log)

    def _kill(self) -> None:
        self._stop_timers()
        self._sweep()

    def _sweep(self) -> None:
        """End the tree, and whatever has left it; in a thread, since it reads all of /proc."""
        self._loop.run_in_executor(None, kill_tree, self.pid, self.spec.id)

    def _release(self) -> None:
        self.state = "dead"
        self._stop_timers()
        self._log.close()
        self._memory.close()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._next is not None:
            self._next.close()
            self._next = None
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            self._loop.run_in_executor(None, self._sandboxes.close, sandbox)

    # -- limits ---------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        assert self._invocation is not None
        timeout = self.spec.configuration.timeout
        self._log.note(timeout_line(self._invocation, timeout))
        self.kill(faults.timed_out(self._invocation.id, timeout))

    def _on_init_timeout(self) -> None:
        self.kill(faults.init_timed_out(INIT_TIMEOUT))

    def _watch_memory(self) -> None:
        if self._invocation is None or self._death is not None:
            return
        if self._memory.is_over():
            self.kill(faults.out_of_memory(self._invocation.id))
        else:
            self._memory_timer = self._loop.call_later(TICK, self._watch_memory)

    def _stop_timers(self) -> None:
        for timer in (self._deadline, self._memory_timer):
            if timer is not None:
                timer.cancel()

    def _request(self) -> ForkRequest:
        assert self._server is not None and self._sandbox is not None
        port = self._server.sockets[0].getsockname()[1]
        return ForkRequest(
            name_of(self.spec.id),
            contract.variables(self._sandbox, port, "on-demand"),
            self._sandbox,
            runtime(self.spec.configuration.runtime).command(self._sandbox),
        )


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
