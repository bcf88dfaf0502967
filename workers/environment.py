"""An execution environment: runs one function version, reached by the Lambda Runtime API, one
invocation at a time. Its process may end and be replaced; its /tmp and its address stay.

    starting ─ next ─────────────► idle ─ invoke ─► busy ─ response ─► resting ─ next ─► idle
        └─ error, exit, 10 s ─► idle  ▲               └─ deadline, exit, memory ─┐
                          (no process)└────────────────────────────── (no process)

Without a process, initialisation is part of the next invocation and of its time: as AWS does after
a crash, a timeout, and an initialisation that failed.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final, Literal, Protocol

from broker.invocation import FunctionFault, Invocation, Outcome
from workers import contract, faults
from workers.attempt import Attempt, judged
from workers.errors import WorkerError
from workers.function_log import init_line, timeout_line
from workers.process import name_of
from workers.runtime_api import Connection
from workers.runtime_process import RuntimeProcess
from workers.runtimes import runtime
from workers.sandbox import EnvironmentSpec, Sandbox, Sandboxes
from workers.zygote import Forker, ForkRequest

#: Seconds of initialisation, by AWS's lifecycle.
INIT_TIMEOUT: Final = 10.0
#: Seconds that a runtime may take to end once it has told that initialisation failed.
LAST_WORDS: Final = 1.0

State = Literal["starting", "idle", "busy", "resting", "dead"]


class EnvironmentListener(Protocol):
    """Who hears of an environment's changes."""

    def on_idle(self, environment: Environment) -> None:
        """It can take an invocation."""

    def on_begun(self, environment: Environment) -> None:
        """The runtime has got the invocation."""

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """Its invocation has ended; `on_idle` follows."""


class Environment:
    """Lives on the supervisor's loop."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        forker: Forker,
        sandboxes: Sandboxes,
        listener: EnvironmentListener,
        initialization: str = "",
    ) -> None:
        self.spec = spec
        self.memory = spec.configuration.memory
        self.state: State = "starting"
        self.last_used = time.monotonic()
        #: Whether the ledger knows whose invocation it has had last.
        self.traced = False
        self._forker = forker
        self._sandboxes = sandboxes
        self._listener = listener
        #: How it came to be; empty: as the forker says.
        self._initialization = initialization
        self._loop = asyncio.get_running_loop()
        self._sandbox: Sandbox | None = None
        self._server: asyncio.Server | None = None
        self._process: RuntimeProcess | None = None
        self._next: Connection | None = None
        self._attempt: Attempt | None = None
        self._started = 0.0
        self._busy_seconds = 0.0
        #: Milliseconds of initialisation, until an invocation has been charged with them.
        self._init_ms: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        #: Why its process is going, once that is decided.
        self._death: FunctionFault | None = None
        #: What was logged where no invocation could be told, until the next one.
        self._carried: tuple[str, ...] = ()
        self._peak_mb = 0

    @property
    def pid(self) -> int:
        """Process id of the runtime; 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def _how(self) -> str:
        return self._initialization or self._forker.initialization(self.spec)

    @property
    def busy_seconds(self) -> float:
        """Seconds in which it had an invocation, so far."""
        return self._busy_seconds + (self._attempt.seconds if self._attempt else 0.0)

    # -- what the supervisor asks ---------------------------------------------------------------

    async def start(self) -> None:
        """Begin its initialisation; it reports by `on_idle`, also when that has failed.

        Raises:
            OSError: no folder, port or pipe could be had.
            ZygoteLost: nothing could be forked.
        """
        try:
            self._sandbox = self._sandboxes.open(self.spec)
            self._server = await self._loop.create_server(
                partial(Connection, self, self._sandbox.uid), "127.0.0.1", 0, backlog=16
            )
            await self._launch()
        except BaseException:
            self._release()
            raise
        if self.state == "starting":
            self._deadline = self._loop.call_later(INIT_TIMEOUT, self._on_init_timeout)

    def invoke(self, invocation: Invocation, timeout: float | None = None) -> None:
        """Give it an invocation, for at most `timeout` seconds; only when it is idle."""
        assert self.state == "idle"
        self.state = "busy"
        self._attempt = Attempt(invocation, timeout or self.spec.configuration.timeout)
        self.last_used = self._attempt.begun
        self._deadline = self._loop.call_later(self._attempt.timeout, self._on_deadline)
        if self._next is not None:
            self._hand_over()
        else:
            self._task = self._loop.create_task(self._launch_again())

    def kill(self, fault: FunctionFault) -> None:
        """End the process now; an invocation in hand ends with this fault."""
        if self.state == "dead" or self._death is not None:
            return
        self._death = fault
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """End it, and what it had on disk: SIGTERM, then SIGKILL; stopping twice is safe."""
        if self._process is not None:
            self._death = self._death or faults.STOPPED
            await self._process.stop()
        self._release()

    def is_spare(self) -> None:
        """Nobody has waited for its start, so that its first invocation is no cold start."""
        self._init_ms = None

    # -- what the runtime tells (runtime_api.Runtime) -------------------------------------------

    def on_next(self, connection: Connection) -> None:
        """The runtime is ready for an invocation."""
        if self._has_asked or self.state in ("idle", "dead") or self._is_handed:
            connection.send(403, b'{"errorType":"InvalidStateTransition"}')
            return
        self.last_used = time.monotonic()
        self._next = connection
        self._go_on()

    def on_response(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's response; a failure in mid-stream comes in a trailer."""
        status = self._expect(id)
        if status == 202 and self._attempt is not None:
            self._finish(*judged(body, headers, self._attempt.invocation.reply))
        return status

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
        if self.state not in ("starting", "busy") or self._is_handed or self._death is not None:
            return 403
        self._death = faults.posted(body, headers)
        self._stop_timer()
        assert self._process is not None
        self._deadline = self._loop.call_later(LAST_WORDS, self._process.kill)
        return 202

    # -- processes ------------------------------------------------------------------------------

    async def _launch(self) -> None:
        """Start a process; one that has asked for its invocation before it was known gets it."""
        assert self._sandbox is not None
        self._death = None
        self._started = time.monotonic()
        process = RuntimeProcess(self._sandbox, self._sandboxes, self._forker, self._on_process_end)
        self._process = process
        try:
            await process.start(self._request(self._sandbox))
        except BaseException:
            self._process = None
            self._drop_next()
            raise
        process.watch(self._on_exceeded)
        self._go_on()

    async def _launch_again(self) -> None:
        """Initialise as a part of the invocation in hand."""
        try:
            await self._launch()
        except (OSError, WorkerError):
            self._finish(None, faults.RETURNED)
            self._be_idle()

    def _on_process_end(self, status: int) -> None:
        process, fault = self._process, self._death
        assert process is not None
        self._peak_mb = max(self._peak_mb, process.memory.peak_mb)
        self._drop_next()
        if fault is None and process.was_out_of_memory:
            fault = faults.out_of_memory(self._subject)
        if self.state == "starting" or (self.state == "busy" and not self._is_handed):
            fault = fault or faults.exited(self._subject, status)
            self._note(init_line(self._since(self._started), self.state, fault))
        self._carried = (*self._carried, *process.log.take())
        self._process = None
        self._stop_timer()
        if self.state == "busy":
            self._finish(None, fault or faults.exited(self._subject, status))
        if self.state in ("starting", "resting") and fault is not faults.STOPPED:
            self._be_idle()

    @property
    def _has_asked(self) -> bool:
        """Whether a process that lives waits for its next invocation."""
        return self._next is not None and self._next.is_open

    def _go_on(self) -> None:
        """Take or await an invocation, once the process is known and asks; none if it is going."""
        if not (self.pid and self._has_asked) or self._death is not None:
            return
        if self.state == "busy":
            self._hand_over()
            return
        if self.state == "starting":
            self._init_ms = self._since(self._started)
        self._be_idle()

    def _be_idle(self) -> None:
        self._stop_timer()
        if self._process is not None:
            self._process.rest()
        self.state = "idle"
        self._listener.on_idle(self)

    def _request(self, sandbox: Sandbox) -> ForkRequest:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return ForkRequest(
            name_of(self.spec.id),
            contract.variables(sandbox, port, self._how),
            sandbox,
            runtime(self.spec.configuration.runtime).command(sandbox),
        )

    def _release(self) -> None:
        self.state = "dead"
        self._stop_timer()
        self._drop_next()
        if self._server is not None:
            self._server.close()
            self._server = None
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            self._sandboxes.close(sandbox)

    # -- invocations ----------------------------------------------------------------------------

    @property
    def _is_handed(self) -> bool:
        """Whether the runtime has the invocation in hand."""
        return self._attempt is not None and self._attempt.handed

    @property
    def _subject(self) -> str:
        """Whose id a message names: the request's, or without one the environment's."""
        return self._attempt.invocation.id if self._attempt else self.spec.id

    def _hand_over(self) -> None:
        attempt, connection = self._attempt, self._next
        assert attempt is not None and connection is not None and self._process is not None
        attempt.handed, self._next = True, None
        self._process.watch(self._on_exceeded)
        headers = contract.headers(attempt.invocation, self.spec, attempt.left)
        connection.send(200, attempt.invocation.event, headers)
        self._listener.on_begun(self)

    def _expect(self, id: str) -> int:
        if self._attempt is None or not self._attempt.handed or self._death is not None:
            return 403
        return 202 if id == self._attempt.invocation.id else 400

    def _finish(self, response: bytes | None, fault: FunctionFault | None) -> None:
        """End the invocation in hand, and tell; its time goes on until the runtime asks again."""
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self.last_used = time.monotonic()
        self._busy_seconds += attempt.seconds
        self.state = "resting"
        printed, self._carried = self._carried, ()
        if self._process is not None:
            self._process.memory.look()
            self._peak_mb = max(self._peak_mb, self._process.memory.peak_mb)
            printed += self._process.log.take()
        init_ms, self._init_ms = self._init_ms, None
        outcome = attempt.outcome(self.spec, response, fault, self._peak_mb, init_ms, printed)
        self._listener.on_outcome(self, outcome)

    # -- limits ---------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        """The invocation's time is over; what still rests after it has had its time as well."""
        attempt = self._attempt
        if attempt is not None:
            self._note(timeout_line(attempt.invocation, attempt.timeout))
            self.kill(faults.timed_out(attempt.invocation.id, attempt.timeout))
        else:
            self.kill(faults.OVERDUE)

    def _on_init_timeout(self) -> None:
        self.kill(faults.init_timed_out(INIT_TIMEOUT))

    def _on_exceeded(self, limit: str) -> None:
        if limit == "memory":
            self.kill(faults.out_of_memory(self._subject))
        else:
            self.kill(faults.exceeded(self._subject, limit))

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # -- small change ---------------------------------------------------------------------------

    def _note(self, line: str) -> None:
        if self._process is not None:
            self._process.log.note(line)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None

    def _since(self, moment: float) -> float:
        return (time.monotonic() - moment) * 1000
