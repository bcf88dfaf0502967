"""A host for tests: zygote, sandboxes and snapshots as the worker has them, in one isolation."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from storage.configuration import FunctionConfiguration
from workers import contract
from workers.errors import WorkerError
from workers.forking import Channel
from workers.function_log import LogPipe
from workers.isolation import Mode
from workers.runtime_api import Connection
from workers.sandbox import EnvironmentSpec, Sandbox, Sandboxes
from workers.snapshot import Snapshots
from workers.zygote import ForkRequest, Zygote

#: Seconds in which something must come; generous, since machines are shared.
DEADLINE = 60.0


@dataclass
class Process:
    """A process tree in a sandbox, with its end and its log."""

    host: Host
    sandbox: Sandbox
    log: LogPipe
    ended: asyncio.Future[int]
    pid: int = 0

    async def end(self) -> tuple[int, str]:
        """Wait for its end; its exit status (negative: the signal), and all it has printed."""
        status = await asyncio.wait_for(asyncio.shield(self.ended), DEADLINE)
        printed = "\n".join(self.log.take())
        self.log.close()
        return os.waitstatus_to_exitcode(status), printed

    async def kill(self) -> tuple[int, str]:
        """End all of it."""
        self.host.zygote.kill(self.sandbox, self.pid)
        return await self.end()


@dataclass
class Host:
    """One host; `processes` runs programs, `environments` functions in the forked interpreter."""

    folder: Path
    zygote: Zygote
    sandboxes: Sandboxes
    snapshots: Snapshots
    _open: list[Sandbox] = field(default_factory=list)

    def sandbox(self, code: str = "", name: str = "tried", **changes: Any) -> Sandbox:
        """A sandbox of a function with this module."""
        task_root = self.folder / "packages" / uuid.uuid4().hex
        task_root.mkdir(parents=True)
        (task_root / "app.py").write_text(textwrap.dedent(code))
        variables = changes.pop("variables", {"AWS_SECRET_ACCESS_KEY": uuid.uuid4().hex})
        configuration = FunctionConfiguration(
            name=name,
            handler="app.handler",
            code_sha256="0" * 64,
            deployed_at=datetime.now(UTC),
            **changes,
        )
        spec = EnvironmentSpec(uuid.uuid4().hex, configuration, task_root, None, variables)
        return self.another(spec)

    def another(self, spec: EnvironmentSpec) -> Sandbox:
        """One more sandbox for the same function version."""
        sandbox = self.sandboxes.open(dataclasses.replace(spec, id=uuid.uuid4().hex))
        self._open.append(sandbox)
        return sandbox

    async def start(
        self, sandbox: Sandbox, *command: str, variables: dict[str, str] | None = None
    ) -> Process:
        """Run a program in a sandbox."""
        variables = {"PATH": "/usr/bin:/bin", "MARK": sandbox.spec.id, **(variables or {})}
        return await self._fork(ForkRequest("fn-test", variables, sandbox, command))

    async def run(self, script: str, sandbox: Sandbox | None = None) -> tuple[int, str]:
        """Run a Python program in a sandbox of its own."""
        command = (sys.executable, "-c", textwrap.dedent(script))
        return await (await self.start(sandbox or self.sandbox(), *command)).end()

    async def _fork(self, request: ForkRequest) -> Process:
        loop = asyncio.get_running_loop()
        process = Process(self, request.sandbox, LogPipe(loop), loop.create_future())
        tell: Callable[[int, int], None] = lambda status, peak: process.ended.set_result(status)  # noqa: E731
        process.pid = await self.snapshots.fork(request, process.log.write_end, tell)
        process.log.close_write_end()
        return process

    async def environment(self, sandbox: Sandbox) -> _Environment:
        """Start a function's environment, and wait until it asks for an invocation."""
        environment = _Environment()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(environment), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        initialization = self.snapshots.initialization(sandbox.spec)
        variables = contract.variables(sandbox, port, initialization)
        environment.process = await self._fork(ForkRequest("fn-test", variables, sandbox))
        environment.server = server
        waiting: asyncio.Future[Any] = asyncio.ensure_future(environment.waiting.get())
        either: list[asyncio.Future[Any]] = [waiting, environment.process.ended]
        await asyncio.wait(either, timeout=DEADLINE, return_when="FIRST_COMPLETED")
        if waiting.done():
            environment.waiting.put_nowait(waiting.result())
        else:
            waiting.cancel()
        return environment

    async def close(self, *sandboxes: Sandbox) -> None:
        """Close sandboxes, or all, and wait until nothing runs in them."""
        for each in sandboxes or tuple(self._open):
            self._open.remove(each)
            self.sandboxes.close(each)
        while self.zygote.users.is_ending:
            await asyncio.sleep(0.01)


@dataclass
class _Environment:
    """A function's environment; a runtime in the sense of `workers.runtime_api`."""

    waiting: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[tuple[bool, Any]] = field(default_factory=asyncio.Queue)
    process: Process = field(init=False)
    server: asyncio.Server = field(init=False)

    async def invoke(self, event: Any = None) -> Any:
        """Its handler's answer; its error as it is."""
        connection = await asyncio.wait_for(self.waiting.get(), DEADLINE)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "1",
            "Lambda-Runtime-Deadline-Ms": "9999999999999",
        }
        connection.send(200, orjson.dumps(event), headers)
        well, answer = await asyncio.wait_for(self.answers.get(), DEADLINE)
        assert well, answer
        return answer

    async def kill(self) -> str:
        """End it; what it has printed."""
        self.server.close()
        return (await self.process.kill())[1]

    def on_next(self, connection: Connection) -> None:
        self.waiting.put_nowait(connection)

    def on_response(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        self.answers.put_nowait((True, orjson.loads(body)))
        return 202

    def on_error(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        self.answers.put_nowait((False, orjson.loads(body)))
        return 202

    def on_too_large(self, id: str) -> None:
        self.answers.put_nowait((False, "too large"))

    def on_init_error(self, body: bytes, headers: dict[str, str]) -> int:
        self.answers.put_nowait((False, orjson.loads(body)))
        return 202


class _Zygote(Zygote):
    """Is given no sign of life, and so misses none where the tests stand still."""

    def _beat(self, channel: Channel) -> None:
        """Say nothing."""


@asynccontextmanager
async def host(folder: Path, mode: Mode | None, paths: Iterable[Path] = ()) -> AsyncIterator[Host]:
    """A host in this isolation, or in the best that can be had.

    Raises:
        WorkerError: this one cannot be had.
    """
    zygote = _Zygote(mode, paths, hidden=folder)
    await zygote.start()
    sandboxes = Sandboxes(folder / "tmp", zygote)
    found = Host(folder, zygote, sandboxes, Snapshots(zygote, sandboxes))
    try:
        yield found
        await found.close()
    finally:
        await found.snapshots.stop()
        await zygote.stop()


def on_host(
    folder: Path,
    mode: Mode | None,
    work: Callable[[Host], Coroutine[Any, Any, Any]],
    paths: Iterable[Path] = (),
) -> None:
    """Do something on a host; where the isolation cannot be had, the test is skipped."""

    async def run() -> None:
        async with host(folder, mode, paths) as found:
            await asyncio.wait_for(work(found), 2 * DEADLINE)

    try:
        asyncio.run(run())
    except WorkerError as error:
        from tests.conftest import absent  # not for other interpreters, which lack what it needs

        absent(f"{error}; run the tests as root on Linux 5.12 or later, with bubblewrap installed")
