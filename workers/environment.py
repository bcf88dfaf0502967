"""An execution environment: one process tree that runs one function version, reached by the
Lambda Runtime API, one invocation at a time.

    starting ── next ──► idle ── invoke ──► busy ── response, next ──► idle
        └── init error, init time over ──┐    └── deadline, exit, memory ──┐
                                         ▼                                ▼
                                        dead ◄────────── stop ───────── idle
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import orjson

from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import FunctionConfiguration
from workers.function_log import LogPipe, closing_lines, start_line, timeout_line
from workers.process import kill_tree, name_of, peak_memory, tree_memory
from workers.runtime_api import MAX_RESPONSE, Connection
from workers.zygote import ForkRequest, Zygote

#: Seconds of initialisation, by AWS's lifecycle.
INIT_TIMEOUT: Final = 10.0
#: Seconds between looks at a busy environment's memory.
MEMORY_TICK: Final = 0.1
_MB: Final = 1024 * 1024
_ACCOUNT: Final = "000000000000"

State = Literal["starting", "idle", "busy", "dead"]


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """Which function version an environment runs, and with what."""

    id: str
    configuration: FunctionConfiguration
    task_root: Path
    #: Its own /tmp.
    tmp: Path
    #: Region, endpoint and role credentials.
    variables: Mapping[str, str]


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
        self, spec: EnvironmentSpec, zygote: Zygote, listener: EnvironmentListener
    ) -> None:
        self.spec = spec
        self.state: State = "starting"
        self.pid = 0
        self.last_used = self.started_at = time.monotonic()
        self._zygote = zygote
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._log = LogPipe(self._loop)
        self._server: asyncio.Server | None = None
        self._next: Connection | None = None
        self._invocation: Invocation | None = None
        self._begun = 0.0
        self._init_ms: float | None = None
        self._cold = True
        self._peak = 0
        self._alone = True
        self._deadline: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        self._death: FunctionFault | None = None
        self._dead = asyncio.Event()

    # -- what the supervisor asks ---------------------------------------------------------------

    async def start(self) -> None:
        """Fork it; it reports by `on_idle`, or by `on_exit` with its fault.

        Raises:
            ZygoteLost: nothing could be forked.
        """
        try:
            self.spec.tmp.mkdir(parents=True, mode=0o700)
            self._server = await self._loop.create_server(
                lambda: Connection(self), "127.0.0.1", 0, backlog=16
            )
            port = self._server.sockets[0].getsockname()[1]
            request = ForkRequest(
                name_of(self.spec.id),
                variables(self.spec, port),
                self.spec.task_root,
                self.spec.configuration.handler,
            )
            self.started_at = time.monotonic()
            self.pid = await self._zygote.fork(request, self._log.write_end, self._on_process_end)
        except BaseException:
            self._release()
            raise
        self._log.close_write_end()
        self._deadline = self._loop.call_later(INIT_TIMEOUT, self._on_init_timeout)

    def invoke(self, invocation: Invocation) -> None:
        """Give it an invocation; only when it is idle."""
        assert self.state == "idle" and self._next is not None
        configuration = self.spec.configuration
        self.state, self._invocation = "busy", invocation
        connection, self._next = self._next, None
        self._begun = self.last_used = time.monotonic()
        self._deadline = self._loop.call_later(configuration.timeout, self._on_deadline)
        self._memory_timer = self._loop.call_later(MEMORY_TICK, self._watch_memory)
        connection.send(200, invocation.event, _headers(invocation, self.spec))

    def kill(self, fault: FunctionFault) -> None:
        """End the whole tree now; an invocation in hand ends with this fault."""
        if self.state == "dead" or self._death is not None:
            return
        self._death = fault
        self._stop_timers()
        self._loop.run_in_executor(None, kill_tree, self.pid, self.spec.id)

    async def stop(self, grace: float) -> None:
        """End it: SIGTERM, and after `grace` seconds SIGKILL for the tree. Twice is safe."""
        if self.pid and self.state != "dead":
            self._death = self._death or FunctionFault("Stopped", "the environment was stopped")
            self._stop_timers()
            await self._loop.run_in_executor(None, kill_tree, self.pid, self.spec.id)
            await self._dead.wait()
        self._release()

    # -- what the runtime tells (runtime_api.Runtime) -------------------------------------------

    def on_next(self, connection: Connection) -> None:
        """The runtime is ready for an invocation."""
        if self.state == "starting":
            self._init_ms = (time.monotonic() - self.started_at) * 1000
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
            self._finish(None, FunctionFault(failed, "the response stream broke off"))
        elif not _is_json(body):
            message = "the function's response is not JSON"
            self._finish(None, FunctionFault("Runtime.InvalidResponse", message))
        else:
            self._finish(body, None)
        return 202

    def on_error(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's error."""
        status = self._expect(id)
        if status == 202:
            self._finish(None, _fault(body, headers))
        return status

    def on_too_large(self, id: str) -> None:
        """The response was over the quota."""
        if self._expect(id) == 202:
            message = (
                "Response payload size exceeded maximum allowed payload size"
                f" ({MAX_RESPONSE} bytes)."
            )
            self._finish(None, FunctionFault("Function.ResponseSizeTooLarge", message))

    def on_init_error(self, body: bytes, headers: dict[str, str]) -> int:
        """The module could not be imported, or has no such handler."""
        if self.state != "starting":
            return 403
        self._death = _fault(body, headers)
        return 202

    # -- ends -----------------------------------------------------------------------------------

    def _expect(self, id: str) -> int:
        if self.state != "busy" or self._invocation is None or self._death is not None:
            return 403
        return 202 if id == self._invocation.id else 400

    def _finish(self, response: bytes | None, fault: FunctionFault | None) -> None:
        """End the invocation in hand, and tell."""
        invocation, self._invocation = self._invocation, None
        assert invocation is not None
        self._stop_timers()
        self.state, self.last_used = "idle", time.monotonic()
        duration = (self.last_used - self._begun) * 1000
        self._measure()
        memory = -(-self._peak // _MB)
        init_ms = self._init_ms if self._cold else None
        self._cold = False
        closing = closing_lines(
            invocation, self.spec.configuration, duration, memory, init_ms, fault
        )
        outcome = Outcome(
            invocation=invocation,
            response=response,
            fault=fault,
            duration_ms=duration,
            max_memory_mb=memory,
            init_ms=init_ms,
            version=self.spec.configuration.version,
            environment=self.spec.id,
            log=(start_line(invocation, self.spec.configuration), *self._log.take(), *closing),
        )
        self._listener.on_outcome(self, outcome)

    def _on_process_end(self, status: int, peak: int) -> None:
        """The zygote has reaped it: by itself, or because it was killed."""
        if self.state == "dead":
            return
        self._loop.run_in_executor(None, kill_tree, self.pid, self.spec.id)
        self._peak = max(self._peak, peak)
        died_starting, fault = self.state == "starting", self._death
        if self._invocation is not None:
            fault = fault or _exit_fault(self._invocation.id, status)
            self._finish(None, self._worded(fault))
        self.state = "dead"
        log = self._log.take()
        self._release()
        self._dead.set()
        if died_starting:
            fault = fault or _exit_fault(self.spec.id, status)
        self._listener.on_exit(self, fault if died_starting else None, log)

    def _worded(self, fault: FunctionFault) -> FunctionFault:
        """Lambda puts the request id in front of what the platform says."""
        if fault.type not in ("Sandbox.Timedout", "Runtime.OutOfMemory"):
            return fault
        assert self._invocation is not None
        return FunctionFault(fault.type, f"RequestId: {self._invocation.id} Error: {fault.message}")

    def _release(self) -> None:
        self.state = "dead"
        self._stop_timers()
        self._log.close()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._next is not None:
            self._next.close()
            self._next = None
        self._loop.run_in_executor(None, _remove, self.spec.tmp)

    # -- limits ---------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        assert self._invocation is not None
        timeout = self.spec.configuration.timeout
        message = f"Task timed out after {timeout:.2f} seconds"
        self._log.note(timeout_line(self._invocation, timeout))
        self.kill(FunctionFault("Sandbox.Timedout", message))

    def _on_init_timeout(self) -> None:
        message = f"Init timed out after {INIT_TIMEOUT:.2f} seconds"
        self.kill(FunctionFault("Sandbox.Timedout", message))

    def _watch_memory(self) -> None:
        if self.state != "busy" or self._death is not None:
            return
        resident = self._measure()
        if resident > self.spec.configuration.memory * _MB:
            message = "Runtime exited with error: signal: killed"
            self.kill(FunctionFault("Runtime.OutOfMemory", message))
            return
        self._memory_timer = self._loop.call_later(MEMORY_TICK, self._watch_memory)

    def _measure(self) -> int:
        """Look at the tree's memory; returns its resident size now, bytes."""
        resident, has_children = tree_memory(self.pid)
        self._peak = max(self._peak, resident if has_children else peak_memory(self.pid))
        return resident

    def _stop_timers(self) -> None:
        for timer in (self._deadline, self._memory_timer):
            if timer is not None:
                timer.cancel()


def variables(spec: EnvironmentSpec, port: int) -> dict[str, str]:
    """The environment variables of a function: its own, then Lambda's, whose names are reserved.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    configuration = spec.configuration
    root = str(spec.task_root)
    today = time.strftime("%Y/%m/%d")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": str(spec.tmp),
        **configuration.environment,
        **spec.variables,
        "TMPDIR": str(spec.tmp),
        "_HANDLER": configuration.handler,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": configuration.name,
        "AWS_LAMBDA_FUNCTION_VERSION": str(configuration.version),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{configuration.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{today}/[{configuration.version}]{spec.id}",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_SDK_UA_APP_ID": spec.id,
        "LAMBDA_TASK_ROOT": root,
        "LAMBDA_RUNTIME_DIR": root,
    }


def _headers(invocation: Invocation, spec: EnvironmentSpec) -> dict[str, str]:
    deadline = int((time.time() + spec.configuration.timeout) * 1000)
    region = spec.variables.get("AWS_REGION", "us-east-1")
    arn = f"arn:aws:lambda:{region}:{_ACCOUNT}:function:{spec.configuration.name}"
    return {
        "Lambda-Runtime-Aws-Request-Id": invocation.id,
        "Lambda-Runtime-Deadline-Ms": str(deadline),
        "Lambda-Runtime-Invoked-Function-Arn": arn,
        "Lambda-Runtime-Trace-Id": _trace_id(invocation.id),
    }


def _trace_id(id: str) -> str:
    """X-Ray's form, so that libraries that parse it do; nothing is sampled."""
    digits = f"{id.replace('-', ''):0<32}"[:24]
    return f"Root=1-{int(time.time()):08x}-{digits};Sampled=0"


def _fault(body: bytes, headers: dict[str, str]) -> FunctionFault:
    """What a runtime posted; clients differ in what they send."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = {}
    found = found if isinstance(found, dict) else {}
    header = headers.get("lambda-runtime-function-error-type", "Runtime.Unknown")
    trace = found.get("stackTrace") or ()
    return FunctionFault(
        type=str(found.get("errorType") or header),
        message=str(found.get("errorMessage") or ""),
        trace=tuple(str(line) for line in trace) if isinstance(trace, list) else (),
    )


def _exit_fault(id: str, status: int) -> FunctionFault:
    """A process that ended by itself; `status` is waitpid's."""
    signal, code = status & 0x7F, status >> 8
    how = f"signal: {_SIGNALS.get(signal, signal)}" if signal else f"exit status {code}"
    message = f"RequestId: {id} Error: Runtime exited with error: {how}"
    return FunctionFault("Runtime.ExitError", message)


_SIGNALS: Final = {6: "aborted", 9: "killed", 11: "segmentation fault", 15: "terminated"}


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
