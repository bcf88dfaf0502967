"""A snapshot: a process that has imported one function version's module, and forks environments.

A user's code runs in it, so it has no right of ours. Where environments have users of their own it
is root in a user namespace (user_namespaces(7)) of the users of its function version, and of no
other: enough to give each fork one of these, a mount namespace and a /tmp. What it says to the
worker is believed as little as what a function says.

Standard library only: the zygote imports it. https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from workers import environment_process, linux
from workers.environment_process import Birth
from workers.fork_server import Become, ForkServer, children_now
from workers.view import VIEW, View, put_own
from workers.zygote_protocol import Fork, Message, Place, Program, Ready, send

#: What it keeps of root's rights over its own users.
_CAPABILITIES: Final = frozenset(
    {
        linux.CAP_SYS_ADMIN,
        linux.CAP_SETUID,
        linux.CAP_SETGID,
        linux.CAP_KILL,
        linux.CAP_DAC_OVERRIDE,
    }
)


#: The variable by which an environment's writes are known as its own.
_APPLICATION: Final = "AWS_SDK_UA_APP_ID"


class Refused(Exception):
    """Raised when a module's import has left what no fork could go on with."""


class Snapshot(ForkServer):
    """Forks environments that have imported their module already."""

    def __init__(self, channel: socket.socket, first: int, below_tmp: list[str]) -> None:
        """`first` is the first of its users, by the host's number."""
        super().__init__(channel)
        self._first = first
        self._below_tmp = below_tmp
        #: What writes the log during import; each environment sets up its own.
        self._handlers: list[logging.Handler] = []
        #: Configurations of AWS clients that the import has made.
        self._configurations: list[Any] = []

    def capture(self, program: Program) -> None:
        """Import the module, and run its hooks for the moment before the snapshot.

        Raises:
            BaseException: whatever its code raises.
            Refused: it runs threads, which no fork has.
        """
        sys.modules["runtime_client"] = None  # type: ignore[assignment]  # not before the fork
        from awslambdaric import bootstrap, lambda_runtime_hooks_runner

        before = list(logging.getLogger().handlers)
        bootstrap.init_logging()
        self._handlers = [each for each in logging.getLogger().handlers if each not in before]
        importlib.import_module(program.handler.rsplit(".", 1)[0].replace("/", "."))
        lambda_runtime_hooks_runner.run_before_snapshot()
        self._configurations = _configurations(program)
        _check_alone()

    def take(self, message: Message, descriptors: list[int]) -> None:
        """Fork an environment."""
        if not isinstance(message, Fork):
            return
        log, program, *further = descriptors
        group = further.pop(0) if message.grouped else None
        birth = Birth(message.name, os.getpid(), log, program, group)
        if message.place is not None:
            uid = message.place.uid - self._first
            settle = partial(self._settle, further[0], uid)
            birth = replace(birth, uid=uid, settle=settle)
        self.fork(message.serial, partial(self._become_environment, birth))

    def _settle(self, mount: int, uid: int) -> None:
        """Give a fork its own /tmp and /dev/shm; only in a forked child."""
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC)
        put_own("", uid, mount, self._below_tmp)

    def _become_environment(self, birth: Birth) -> None:
        program = environment_process.begin(birth)
        environment_process.set_variables(program)
        for each in self._handlers:
            logging.getLogger().removeHandler(each)
        for configuration in self._configurations:
            configuration.user_agent_appid = program.variables[_APPLICATION]
        _reseed()
        _load_client()
        from awslambdaric.__main__ import main

        main(["bootstrap", program.handler])


def become(birth: Birth, first: int, below_tmp: list[str]) -> None:
    """Turn a forked child of the zygote into a snapshot; only there."""
    (channel,) = birth.kept
    program = environment_process.begin(birth)
    environment_process.set_interpreter_apart(program)
    environment_process.forget_ours()
    snapshot = Snapshot(socket.socket(fileno=channel), first, below_tmp)
    go_on = _serve(snapshot, _try_to_capture(snapshot, program))
    if go_on is not None:
        go_on()


def _serve(snapshot: Snapshot, refused: str) -> Become | None:
    """Serve the worker, until that has gone; in a fork, returns what it is to do."""
    with suppress(ConnectionError):
        send(snapshot.channel, Ready(refused))
        return None if refused else snapshot.serve()
    return None


def enter_namespace(view: View, place: Place, own: range) -> None:
    """Become root of these users and of nobody else, with the files that are laid out.

    Raises:
        OSError: the kernel refuses.
    """
    view.lay_out(place)
    os.setgroups([])
    _own_users(own)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    linux.unshare(linux.CLONE_NEWNS)
    os.chroot(VIEW)
    os.chdir("/")
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    environment_process.limit_processes()
    linux.keep_capabilities(_CAPABILITIES)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def _own_users(own: range) -> None:
    """Make a user namespace; a fork that stays outside says whose it is."""
    me = os.getpid()
    made, make = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.read(made, 1)
        for kind in ("uid_map", "gid_map"):
            with open(f"{VIEW}/proc/{me}/{kind}", "w", encoding="utf-8") as file:
                file.write(f"0 {own.start} {len(own)}")
        os._exit(0)
    linux.unshare(linux.CLONE_NEWUSER)
    os.write(make, b"\n")
    _, status = os.waitpid(writer, 0)
    if status != 0:
        raise OSError("the users of a snapshot could not be mapped")


def _try_to_capture(snapshot: Snapshot, program: Program) -> str:
    """Why there can be no snapshot; empty: there is one."""
    try:
        snapshot.capture(program)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:1_000]
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    return ""


def _check_alone() -> None:
    """A fork has the thread that made it, and no other: locks of others stay locked for ever.

    Libraries that know this end theirs before a fork (OpenBLAS, below NumPy): so one is made.
    """
    running = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    if running:
        raise Refused(f"its import starts threads: {', '.join(running)}")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    count = len(os.listdir("/proc/self/task"))
    if count > 1:
        raise Refused(f"its import starts {count - 1} threads in a library")
    if children_now():
        raise Refused("its import starts other processes")


def _configurations(program: Program) -> list[Any]:
    """Those of boto3's clients that tell the store which environment writes: it is another then."""
    botocore = sys.modules.get("botocore.config")
    mark = program.variables[_APPLICATION]
    if botocore is None:
        return []
    found = [each for each in gc.get_objects() if type(each) is botocore.Config]
    return [each for each in found if each.user_agent_appid == mark]


def _reseed() -> None:
    """Random numbers that differ from those of other forks, in NumPy's global generator too."""
    generator = sys.modules.get("numpy.random")
    if generator is not None:
        generator.seed()


def _load_client() -> None:
    """AWS's own extension, which reads the Runtime API's address when it is told to begin."""
    del sys.modules["runtime_client"]
    runtime_client = importlib.import_module("runtime_client")
    from awslambdaric import lambda_runtime_client

    runtime_client.initialize_client(lambda_runtime_client._user_agent())
    lambda_runtime_client.runtime_client = runtime_client
