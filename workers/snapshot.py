"""Snapshots: environments of one function version are forked from a process that has imported it.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Final

from workers import contract, users
from workers.errors import WorkerError, ZygoteLost
from workers.forking import Channel, Exit
from workers.function_log import LogPipe
from workers.memory import TICK, Memory
from workers.process import name_of
from workers.programs import place_of
from workers.sandbox import EnvironmentSpec, Sandbox, Sandboxes
from workers.user_ranges import Key, has_snapshot, key_of
from workers.zygote import ForkRequest, Zygote
from workers.zygote_protocol import Ended, Fork, Program, write_program

log = logging.getLogger("bucketwheel.snapshot")

#: Snapshots kept on one host.
MOST: Final = 16
#: Seconds for the import of a module: AWS's time of initialisation.
IMPORT: Final = 10.0
#: Bytes of what an import prints that go to the log of the first environment; a pipe takes 64 KB.
_PRINTED: Final = 16_000


class Snapshot:
    """One process that has imported a function version's module, or will have."""

    def __init__(self, zygote: Zygote, sandboxes: Sandboxes, spec: EnvironmentSpec) -> None:
        self.last_used = time.monotonic()
        self._zygote, self._sandboxes = zygote, sandboxes
        self._users = sandboxes.ranges.take_first(spec)
        own = replace(spec, id=uuid.uuid4().hex)
        self._sandbox = sandboxes.open(own, self._users.start if self._users else None)
        loop = asyncio.get_running_loop()
        self._log = LogPipe(loop)
        self._channel = Channel(self._on_lost, _refuse, takes_descriptors=False)
        self._pid = 0
        self._retired = self._ended = False
        #: Why there is none; empty: it can be forked. Done once it is known.
        self._captured = loop.create_task(self._capture())

    @property
    def is_used(self) -> bool:
        """Whether an environment of it lives, or it is still being made."""
        return self._channel.forks > 0 or not self._captured.done()

    @property
    def has_gone(self) -> bool:
        """Whether it could be forked once, and cannot any more."""
        return self._ended and self._captured.done() and not self._captured.result()

    def owns(self, sandbox: Sandbox) -> bool:
        """Whether it may fork an environment for this sandbox."""
        return sandbox.uid is None or sandbox.uid in self._users

    async def refused(self) -> str:
        """Why nothing can be forked from it; empty: it can. Waits for the import."""
        reason = await asyncio.shield(self._captured)
        return reason or ("it has ended" if self._ended else "")

    def take_log(self) -> bytes:
        """What the import has printed; told once."""
        return "".join(f"{line}\n" for line in self._log.take()).encode()[:_PRINTED]

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        """Fork an environment from it, as the zygote does.

        Raises:
            ZygoteLost: it has gone, or could not fork.
        """
        self.last_used = time.monotonic()
        sandbox, serial = request.sandbox, self._channel.next_serial()
        handler = sandbox.spec.configuration.handler
        message = Fork(serial, request.name, place_of(sandbox), sandbox.group is not None)
        own: list[int] = []
        try:
            program = Program(dict(request.variables), handler, sandbox.task_root, [])
            own.append(write_program(program))
            if sandbox.group is not None:
                own.append(sandbox.group.open())
            if sandbox.uid is not None:
                own.append(await self._zygote.lend_tmp(sandbox, log_end))
            descriptors = (log_end, *own)
            pid = await self._channel.fork(serial, message, descriptors, self._exit(on_exit))
        finally:
            for each in own:
                os.close(each)
        self._check(pid, sandbox)
        return pid

    def retire(self) -> None:
        """End it as soon as none of its environments lives: they would end with it."""
        self._retired = True
        if not self.is_used:
            self.end()

    def end(self) -> None:
        """End it, and its environments; ending twice is safe."""
        if self._ended:
            return
        self._ended = True
        if self._pid:
            self._zygote.kill(self._sandbox, self._pid)
        self._channel.close()
        self._log.close()
        self._sandboxes.close(self._sandbox)

    def _exit(self, on_exit: Exit) -> Exit:
        def told(status: int, peak: int) -> None:
            on_exit(status, peak)
            if self._retired and not self.is_used:
                self.end()

        return told

    def _check(self, pid: int, sandbox: Sandbox) -> None:
        """A user's code has said which process it is: it must be one of its own users."""
        with suppress(OSError):
            if sandbox.uid is None or users.user_of(pid) in self._users:
                return
        self.end()
        raise ZygoteLost("the snapshot told of a process that is none of its own")

    async def _capture(self) -> str:
        """Have the module imported; returns why there is no snapshot."""
        spec = self._sandbox.spec
        variables = contract.variables(self._sandbox, 0, contract.SNAP_START)
        request = ForkRequest(name_of(spec.id), variables, self._sandbox)
        end = self._channel.theirs.fileno()
        count = len(self._users)
        try:
            ends = (self._log.write_end, end)
            self._pid = await self._zygote.capture(request, count, *ends, self._on_exit)
        except (WorkerError, OSError) as error:
            return str(error)
        self._channel.theirs.close()
        self._log.close_write_end()
        refused = await self._watched(spec)
        if refused:
            self._zygote.kill(self._sandbox, self._pid)
        return refused

    async def _watched(self, spec: EnvironmentSpec) -> str:
        """Wait for the import, which has its limits of time and memory."""
        memory = Memory(spec.configuration.memory)
        memory.open(self._pid)
        deadline = time.monotonic() + IMPORT
        try:
            while time.monotonic() < deadline:
                with suppress(TimeoutError):
                    return await asyncio.wait_for(asyncio.shield(self._channel.ready), TICK)
                if memory.is_over():
                    return f"its import takes over {spec.configuration.memory} MB"
            return f"its import takes over {IMPORT:g} s"
        finally:
            memory.close()

    def _on_exit(self, status: int, peak: int) -> None:
        """Its process has ended."""
        self._on_lost()

    def _on_lost(self) -> None:
        """It can fork nothing more; while it is being made, that is why it cannot be had."""
        if self._captured.done():
            self.end()
        else:
            self._channel.close()


def _refuse(ended: Ended) -> None:
    """Ends of users are the zygote's to tell."""
    raise ValueError(f"a snapshot says {ended}")


class Snapshots:
    """Forks environments: from a snapshot where the function has one, else from the zygote."""

    def __init__(self, zygote: Zygote, sandboxes: Sandboxes) -> None:
        self._zygote, self._sandboxes = zygote, sandboxes
        self._snapshots: dict[Key, Snapshot] = {}
        self._warned = False

    def initialization(self, spec: EnvironmentSpec) -> str:
        """AWS_LAMBDA_INITIALIZATION_TYPE of an environment."""
        return contract.SNAP_START if self._applies(spec) else contract.ON_DEMAND

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        """Fork an environment whose output goes to the descriptor `log_end`; returns its pid.

        Raises:
            ZygoteLost: nothing could be forked.
        """
        spec = request.sandbox.spec
        if self._applies(spec):
            snapshot, reason = await self._snapshot(request.sandbox)
            if snapshot is not None:
                os.write(log_end, snapshot.take_log())
                return await snapshot.fork(request, log_end, on_exit)
            os.write(log_end, f"No snapshot, an ordinary start: {reason}\n".encode())
        return await self._zygote.fork(request, log_end, on_exit)

    def kill(self, sandbox: Sandbox, pid: int) -> None:
        """End all that runs in a sandbox; does not wait."""
        self._zygote.kill(sandbox, pid)

    def keep_only(self, versions: Collection[tuple[str, int]]) -> None:
        """End the snapshots of all other function versions, as their environments end."""
        for key in [each for each in self._snapshots if each[:2] not in versions]:
            self._snapshots.pop(key).retire()

    def reap(self, idle_before: float) -> None:
        """End those that nothing was forked from since a monotonic moment."""
        for key, each in list(self._snapshots.items()):
            if not each.is_used and each.last_used < idle_before:
                self._snapshots.pop(key).end()

    async def stop(self) -> None:
        """End all of them."""
        while self._snapshots:
            self._snapshots.popitem()[1].end()

    def _applies(self, spec: EnvironmentSpec) -> bool:
        if not has_snapshot(spec):
            return False
        if self._zygote.isolation.mode == "bubblewrap":
            if not self._warned:
                log.warning("bubblewrap allows no snapshots: every start is an ordinary one")
            self._warned = True
            return False
        return True

    async def _snapshot(self, sandbox: Sandbox) -> tuple[Snapshot | None, str]:
        """The snapshot to fork from, or why there is none."""
        try:
            snapshot = self._find(sandbox.spec)
        except OSError as error:
            return None, str(error)
        if snapshot is None:
            return None, f"this host keeps {MOST}, and all are in use"
        if not snapshot.owns(sandbox):
            return None, "all of its users run environments"
        reason = await snapshot.refused()
        if reason:
            printed = snapshot.take_log().decode("utf-8", "replace")
            return None, "\n".join(filter(None, (reason, printed)))
        return snapshot, ""

    def _find(self, spec: EnvironmentSpec) -> Snapshot | None:
        """The snapshot of a version, made if there is room; older ones of it are retired."""
        key = key_of(spec)
        if key in self._snapshots and not self._snapshots[key].has_gone:
            return self._snapshots[key]
        for old in [each for each in self._snapshots if each[0] == key[0]]:
            self._snapshots.pop(old).retire()
        if len(self._snapshots) >= MOST and not self._make_room():
            return None
        self._snapshots[key] = Snapshot(self._zygote, self._sandboxes, spec)
        return self._snapshots[key]

    def _make_room(self) -> bool:
        idle = [(each.last_used, key) for key, each in self._snapshots.items() if not each.is_used]
        for _, key in sorted(idle, key=lambda pair: pair[0])[:1]:
            self._snapshots.pop(key).end()
        return bool(idle)
