"""An environment whose process is quicker than the news of its fork: real processes, late news."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from broker.invocation import Invocation, Outcome
from tests.workers.hosts import DEADLINE, Host, on_host
from workers import faults
from workers.environment import Environment
from workers.forking import Exit
from workers.runtime_api import Connection
from workers.sandbox import EnvironmentSpec, Sandbox
from workers.zygote import ForkRequest

CODE = """
    import time

    def handler(event, context):
        time.sleep(event.get("seconds", 0))
        return "well"
"""


class _Late:
    """A zygote whose answers are held back."""

    def __init__(self, host: Host) -> None:
        self._zygote = host.zygote
        self.forked, self.told = asyncio.Event(), asyncio.Event()
        #: Kills that come to nothing.
        self.missed = 0

    def initialization(self, spec: EnvironmentSpec) -> str:
        return self._zygote.initialization(spec)

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        pid = await self._zygote.fork(request, log_end, on_exit)
        self.forked.set()
        await self.told.wait()
        return pid

    def kill(self, sandbox: Sandbox, pid: int) -> None:
        if self.missed:
            self.missed -= 1
        else:
            self._zygote.kill(sandbox, pid)


class _Environment(Environment):
    """Tells when its runtime has asked for an invocation."""

    def on_next(self, connection: Connection) -> None:
        super().on_next(connection)
        self.asked.set()

    asked: asyncio.Event


class _Dispatcher:
    """Gives an environment that is idle whatever waits."""

    def __init__(self) -> None:
        self.waiting: list[Invocation] = []
        self.idle: asyncio.Queue[Environment] = asyncio.Queue()
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def on_idle(self, environment: Environment) -> None:
        self.idle.put_nowait(environment)
        if self.waiting:
            environment.invoke(self.waiting.pop())

    def on_begun(self, environment: Environment) -> None:
        assert environment.pid > 0  # whom `revoke` would end

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        self.outcomes.put_nowait(outcome)


def _on_late_host(
    folder: Path, work: Callable[[_Late, _Dispatcher, _Environment], Coroutine[Any, Any, None]]
) -> None:
    async def run(host: Host) -> None:
        late, dispatcher = _Late(host), _Dispatcher()
        spec = dataclasses.replace(host.sandbox(CODE, timeout=60).spec, id=uuid.uuid4().hex)
        environment = _Environment(spec, late, host.sandboxes, dispatcher)
        environment.asked = asyncio.Event()
        try:
            await asyncio.wait_for(work(late, dispatcher, environment), DEADLINE)
        finally:
            late.told.set()
            await environment.stop()

    on_host(folder, None, run)


def test_a_runtime_that_asks_before_its_fork_is_known_gets_its_invocation(tmp_path: Path) -> None:
    """The zygote goes on after its child has; who is idle is invoked at once, and has a process."""

    async def work(late: _Late, dispatcher: _Dispatcher, environment: _Environment) -> None:
        dispatcher.waiting.append(Invocation("6f1c", "tried", b"{}", attempt=1))
        starting = asyncio.create_task(environment.start())
        await environment.asked.wait()
        assert dispatcher.idle.empty()
        late.told.set()
        await starting

        outcome = await dispatcher.outcomes.get()
        assert (outcome.response, outcome.fault) == (b'"well"', None)

    _on_late_host(tmp_path, work)


def test_a_process_that_is_killed_before_its_fork_is_known_ends(tmp_path: Path) -> None:
    """A deadline may pass meanwhile: the environment goes on without that process."""

    async def work(late: _Late, dispatcher: _Dispatcher, environment: _Environment) -> None:
        starting = asyncio.create_task(environment.start())
        await late.forked.wait()
        environment.kill(faults.OVERDUE)
        late.told.set()
        await starting

        assert await dispatcher.idle.get() is environment
        assert environment.pid == 0
        environment.invoke(Invocation("6f1c", "tried", b"{}", attempt=1))
        assert (await dispatcher.outcomes.get()).response == b'"well"'

    _on_late_host(tmp_path, work)


def test_what_a_kill_has_missed_is_killed_again(tmp_path: Path) -> None:
    """A fork that has not become its user yet cannot be reached under it."""

    async def work(late: _Late, dispatcher: _Dispatcher, environment: _Environment) -> None:
        late.told.set()
        late.missed = 2
        await environment.start()
        assert await dispatcher.idle.get() is environment
        environment.invoke(Invocation("6f1c", "tried", b'{"seconds": 600}', attempt=1), 600)
        environment.kill(faults.OVERDUE)

        assert (await dispatcher.outcomes.get()).fault == faults.OVERDUE

    _on_late_host(tmp_path, work)
