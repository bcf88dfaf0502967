"""The zygote, seen from the worker: every environment is forked from it, and ended by it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from workers import contract, isolation
from workers.errors import WorkerError, ZygoteLost
from workers.forking import Channel, Exit
from workers.isolation import Isolation, Mode, Shown
from workers.process import kill_tree
from workers.programs import place_of, program_of
from workers.sandbox import EnvironmentSpec, Sandbox
from workers.user_pool import UserPool
from workers.view import visible_paths
from workers.zygote_protocol import Alive, Capture, End, Fork, Tmp, write_program

log = logging.getLogger("bucketwheel.zygote")

#: Seconds for the process to end its environments when it is told to go.
_LAST: Final = 10.0
#: Seconds for the process to begin.
_BEGIN: Final = 60.0
#: Seconds between signs of life.
_BEAT: Final = 1.0


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What a forked process is to be."""

    #: Its process name, at most 15 characters.
    name: str
    variables: Mapping[str, str]
    sandbox: Sandbox
    #: The program to become; empty: AWS's runtime client in the forked interpreter.
    command: tuple[str, ...] = ()


class Forker(Protocol):
    """What environments are forked from: the zygote, or snapshots before it."""

    def initialization(self, spec: EnvironmentSpec) -> str:
        """AWS_LAMBDA_INITIALIZATION_TYPE of an environment."""

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        """Fork an environment whose output goes to the descriptor `log_end`; returns its pid.

        Raises:
            ZygoteLost: nothing could be forked.
        """

    def kill(self, sandbox: Sandbox, pid: int) -> None:
        """End all that runs in a sandbox; does not wait."""


class Zygote:
    """Lives on the supervisor's loop; when the process dies, the next fork starts another.

    Environments die with the process, and it dies when the worker does.
    """

    def __init__(
        self,
        mode: Mode | None = None,
        paths: Iterable[Path] = (),
        hidden: Path = Path("/nonexistent"),
    ) -> None:
        """`mode` None takes the best that this host allows; `paths` are shown to environments.

        `hidden` is the worker's own folder, which no environment may see.
        """
        self._mode = mode
        self._shown = Shown(visible_paths(map(str, paths)), os.path.realpath(hidden))
        self._isolation: Isolation | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._starting = asyncio.Lock()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        #: Users of environments.
        self.users = UserPool(self._ask)

    @property
    def isolation(self) -> Isolation:
        """What is in force; only once it has started."""
        assert self._isolation is not None
        return self._isolation

    @property
    def hides_opt(self) -> bool:
        """Whether what environments must see lies below /opt, where layers would cover it."""
        return any(each.startswith(f"{isolation.OPT}/") for each in self._shown.paths)

    @property
    def pid(self) -> int | None:
        """Process id, while it lives."""
        return self._process.pid if self._process else None

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process, in the best isolation there is; once it runs, this does nothing.

        Raises:
            WorkerError: the isolation that was asked for cannot be had here.
            ZygoteLost: it does not begin.
        """
        async with self._starting:
            if self._channel is not None:
                return
            if self._isolation is None:
                await self._choose()
            else:
                refused = await self._begin(self._isolation.mode)
                if refused:
                    raise ZygoteLost(f"the zygote does not begin: {refused}")
            self.users.end_what_is_left()

    async def stop(self) -> None:
        """End the process, and with it whatever it forked; stopping twice is safe."""
        self._stopping = True
        process = self._process
        self._lose()
        if process is not None:
            await asyncio.get_running_loop().run_in_executor(None, _wait, process)
        self.users.release()

    async def _choose(self) -> None:
        """Try what may be had, best first, and say what is not isolated."""
        reasons: list[str] = []
        for mode in (self._mode,) if self._mode else isolation.candidates():
            refused = await self._begin(mode)
            if not refused:
                self._isolation = isolation.BY_MODE[mode]
                if mode == "none" and self._mode is None:
                    log.warning("%s (%s)", isolation.NONE.description, _advice(reasons))
                return
            self.users.release()
            reasons.append(f"{mode}: {refused}")
        raise WorkerError(f"environments cannot be isolated as asked: {'; '.join(reasons)}")

    async def _begin(self, mode: Mode) -> str:
        """Start the process in this isolation; returns why it cannot be had."""
        if mode == "bubblewrap" and (refused := isolation.why_no_bubblewrap()):
            return refused
        if mode == "uid":
            try:
                self.users.begin()
            except OSError as error:
                return str(error)
        channel = Channel(self._on_lost, self.users.on_ended, takes_descriptors=True)
        descriptor = channel.theirs.fileno()
        program = [sys.executable, "-P", "-m", "workers.zygote_process", str(descriptor)]
        self._process = subprocess.Popen(
            [*program, mode, self._shown.hidden, *self._shown.paths],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_clean_environment(),
            start_new_session=True,
        )
        channel.theirs.close()
        self._channel = channel
        try:
            refused = await asyncio.wait_for(asyncio.shield(channel.ready), _BEGIN)
        except TimeoutError:
            refused = f"it has not begun within {_BEGIN:g} s"
        if refused:
            self._lose()
        self._beat(channel)
        return refused

    def _beat(self, channel: Channel) -> None:
        """Say that the worker lives: while it stands still, its work is given to others."""
        if channel is self._channel:
            with suppress(ZygoteLost):
                channel.send(Alive())
            asyncio.get_running_loop().call_later(_BEAT, self._beat, channel)

    def _on_lost(self) -> None:
        had_begun = self._channel is not None and self._channel.ready.done()
        self._lose()
        if not had_begun or self._stopping:
            return
        log.warning("the zygote has gone; the next environment starts another")
        if self.users.is_used:
            self._spawn_start()

    def _lose(self) -> None:
        """Forget the process, and tell everyone who depended on it."""
        channel, self._channel, process, self._process = self._channel, None, self._process, None
        if channel is not None:
            channel.close()
        if process is not None and not self._stopping:
            process.kill()
            process.wait()

    def _spawn_start(self) -> None:
        """What the old process has left must end, whether or not a fork comes."""

        async def start() -> None:
            try:
                await self.start()
            except (WorkerError, OSError) as error:
                log.error("the zygote does not come back: %s", error)

        task = asyncio.get_running_loop().create_task(start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- forking --------------------------------------------------------------------------------

    def initialization(self, spec: EnvironmentSpec) -> str:
        """AWS_LAMBDA_INITIALIZATION_TYPE of an environment."""
        return contract.ON_DEMAND

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        """Fork an environment whose output goes to the descriptor `log_end`; returns its pid.

        Raises:
            ZygoteLost: the process has gone, or could not fork.
        """
        sandbox = request.sandbox
        channel = await self._ready_for(sandbox, log_end)
        serial = channel.next_serial()
        program = write_program(program_of(request, self.isolation.mode, self._shown))
        group = sandbox.group.open() if sandbox.group is not None else None
        descriptors = (log_end, program) if group is None else (log_end, program, group)
        message = Fork(serial, request.name, place_of(sandbox), group is not None)
        try:
            return await channel.fork(serial, message, descriptors, on_exit)
        finally:
            os.close(program)
            if group is not None:
                os.close(group)

    async def capture(
        self, request: ForkRequest, uids: int, log_end: int, channel_end: int, on_exit: Exit
    ) -> int:
        """Fork a snapshot, which forks environments with so many users from the sandbox's on.

        Raises:
            ZygoteLost: the process has gone, or could not fork.
        """
        channel = await self._ready_for(request.sandbox, log_end)
        serial = channel.next_serial()
        program = write_program(program_of(request, self.isolation.mode, self._shown))
        message = Capture(serial, request.name, place_of(request.sandbox), uids)
        try:
            descriptors = (log_end, program, channel_end)
            return await channel.fork(serial, message, descriptors, on_exit)
        finally:
            os.close(program)

    async def lend_tmp(self, sandbox: Sandbox, log_end: int) -> int:
        """A descriptor of a mount of the sandbox's /tmp, for a snapshot's fork; to be closed.

        Raises:
            ZygoteLost: the process has gone, or has none.
        """
        assert sandbox.uid is not None
        channel = await self._ready_for(sandbox, log_end)
        serial = channel.next_serial()
        size = sandbox.spec.configuration.ephemeral_storage
        return await channel.borrow(serial, Tmp(serial, sandbox.uid, size))

    async def _ready_for(self, sandbox: Sandbox, log_end: int) -> Channel:
        """The channel, once nothing is left of what ran in the sandbox before."""
        await self.start()
        if sandbox.uid is not None:
            os.fchown(log_end, sandbox.uid, sandbox.uid)  # it may be opened by name: /dev/stdout
            await self.users.has_ended(sandbox.uid)
        if self._channel is None:
            raise ZygoteLost("the zygote has gone")
        return self._channel

    # -- ending ---------------------------------------------------------------------------------

    def kill(self, sandbox: Sandbox, pid: int) -> None:
        """End all that runs in a sandbox; does not wait. Its main process's end is told as ever."""
        if sandbox.uid is not None:
            self.users.end(sandbox.uid)
            return
        mark = sandbox.spec.id
        asyncio.get_running_loop().run_in_executor(None, kill_tree, pid, mark)

    def _ask(self, request: End) -> None:
        """Ask for the end of a user's processes; a zygote that has gone is asked on its return."""
        if self._channel is not None:
            with suppress(ZygoteLost):
                self._channel.send(request)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Give a process time to end what it has begun: its channel is closed."""
    try:
        process.wait(_LAST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _advice(reasons: list[str]) -> str:
    how = "run the worker as root with CAP_SYS_ADMIN on Linux 5.12 or later, or install bubblewrap"
    return f"{how}; {'; '.join(reasons)}"


def _clean_environment() -> dict[str, str]:
    """Nothing of ours: what the zygote has, every environment could find in its memory."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONUTF8": "1", "LANG": "C.UTF-8"}
