"""The zygote, seen from the worker: starts the forking process, asks it, hears of ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.errors import ZygoteLost
from workers.sandbox import Sandbox
from workers.zygote_process import MESSAGE

log = logging.getLogger("bucketwheel.zygote")

#: Called with the wait status of a process that has ended, and its peak resident size in bytes.
Exit = Callable[[int, int], None]

KILLED = 9


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What a forked process is to be."""

    #: Its process name, at most 15 characters.
    name: str
    variables: Mapping[str, str]
    sandbox: Sandbox
    #: The program to become; empty: AWS's runtime client in the forked interpreter.
    command: tuple[str, ...] = ()


class Zygote:
    """Lives on the supervisor's loop; when the process dies, the next fork starts another.

    The process dies with the thread that started it, and environments die with the process.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._serial = 0
        self._forks: dict[int, tuple[asyncio.Future[int], Exit]] = {}
        self._exits: dict[int, Exit] = {}

    @property
    def pid(self) -> int | None:
        """Process id, while it lives."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE)
        command = [sys.executable, "-P", "-m", "workers.zygote_process", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_clean_environment(),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    async def fork(self, request: ForkRequest, log_end: int, on_exit: Exit) -> int:
        """Fork an environment whose output goes to the descriptor `log_end`; returns its pid.

        Raises:
            ZygoteLost: the process has gone, or could not fork.
        """
        if self._channel is None:
            await self.start()
        assert self._channel is not None
        self._serial += 1
        forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forks[self._serial] = (forked, on_exit)
        message = {
            "serial": self._serial,
            "name": request.name,
            "variables": dict(request.variables),
            "task_root": request.sandbox.task_root,
            "handler": request.sandbox.spec.configuration.handler,
        }
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], [log_end])
        except OSError as error:
            self._forks.pop(self._serial, None)
            raise ZygoteLost(f"the zygote does not take requests: {error}") from error
        return await forked

    async def stop(self) -> None:
        """End the process, and with it whatever it forked; stopping twice is safe."""
        process = self._process
        if process is None:
            return
        self._lose()
        process.kill()
        process.wait()

    def _hear(self) -> None:
        assert self._channel is not None
        while self._channel is not None:
            try:
                data = self._channel.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                log.warning("the zygote has gone; the next environment starts another")
                process = self._process
                self._lose()
                if process:
                    process.kill()
                    process.wait()
                return
            self._tell(json.loads(data))

    def _tell(self, message: dict[str, Any]) -> None:
        if "serial" not in message:
            on_exit = self._exits.pop(message["pid"], None)
            if on_exit is not None:
                on_exit(message["status"], message["peak"])
            return
        forked, on_exit = self._forks.pop(message["serial"])
        if "error" in message:
            forked.set_exception(ZygoteLost(f"no environment can be forked: {message['error']}"))
            return
        self._exits[message["pid"]] = on_exit
        if not forked.done():
            forked.set_result(message["pid"])

    def _lose(self) -> None:
        """Forget the process, and tell everyone who depended on it."""
        channel, self._channel, self._process = self._channel, None, None
        if channel is not None:
            asyncio.get_running_loop().remove_reader(channel.fileno())
            channel.close()
        exits, self._exits = self._exits, {}
        forks, self._forks = self._forks, {}
        for forked, _ in forks.values():
            if not forked.done():
                forked.set_exception(ZygoteLost("the zygote has gone"))
        for on_exit in exits.values():
            on_exit(KILLED, 0)


def _clean_environment() -> dict[str, str]:
    """Nothing of ours: what the zygote has, every environment could find in its memory."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONUTF8": "1", "LANG": "C.UTF-8"}
