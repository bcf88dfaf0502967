"""What a forked process does to become an execution environment; nobody else runs this.

Standard library only, and nothing that `workers.zygote_process` has not imported before.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from workers import linux
from workers.zygote_protocol import Program, read_program

#: AWS Lambda's quotas of file descriptors, and of processes with their threads.
DESCRIPTORS = 1_024
PROCESSES = 1_024
#: Exit status of a program that could not be run, as shells have it.
NOT_RUN = 127


@dataclass(frozen=True, slots=True)
class Birth:
    """What the parent leaves to a forked child."""

    name: str
    parent: int
    #: Descriptors: the log pipe, the program, the control group's list of processes.
    log: int
    program: int
    group: int | None = None
    #: A user of its own; None: it keeps the parent's.
    uid: int | None = None
    #: What to do while it has still the parent's rights.
    settle: Callable[[], None] = lambda: None
    #: Descriptors that are not to be closed.
    kept: tuple[int, ...] = ()


def begin(birth: Birth) -> Program:
    """Set the process apart from its parent: its own session, user, files, limits and variables.

    Raises:
        OSError: the kernel refuses something; it is no environment then.
    """
    _hear_signals()
    os.setsid()
    linux.prctl(linux.PR_SET_NAME, birth.name.encode())
    os.dup2(birth.log, 1)
    os.dup2(birth.log, 2)
    if birth.group is not None:
        os.write(birth.group, b"0")
    program = read_program(birth.program)
    birth.settle()
    _close_descriptors(birth.kept)
    _limit(birth.uid)
    if birth.uid is not None:
        _take_user(birth.uid)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != birth.parent:
        os._exit(1)  # the parent died before the lines above
    os.umask(0o077)
    os.chdir(program.task_root)
    return program


def run(program: Program) -> None:
    """Become the program, or AWS's client in this interpreter."""
    if program.command:
        _execute(program)
    set_interpreter_apart(program)
    forget_ours()
    from awslambdaric.__main__ import main

    main(["bootstrap", program.handler])


def set_interpreter_apart(program: Program) -> None:
    """Give the interpreter the variables, paths and streams of a fresh one."""
    set_variables(program)
    additional = program.variables.get("PYTHONPATH", "").split(":")
    first = [program.task_root, *(each for each in additional if each)]
    sys.path[:] = [*first, *(each for each in sys.path if each and each not in first)]
    sys.argv[:] = ["bootstrap", program.handler]
    sys.modules["__main__"] = types.ModuleType("__main__")
    open_streams()


def set_variables(program: Program) -> None:
    """Replace the process's variables, and what the standard library has made of old ones."""
    os.environ.clear()
    os.environ.update(program.variables)
    time.tzset()
    random.seed()
    tempfile.tempdir = None


def open_streams() -> None:
    """Standard output and error as the environment's own objects."""
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def forget_ours() -> None:
    """A function's process finds none of our packages imported."""
    for name in [each for each in sys.modules if each.split(".")[0] == "workers"]:
        del sys.modules[name]


def limit_processes() -> None:
    """Limit processes and threads; the kernel counts them by user."""
    _set_limit(resource.RLIMIT_NPROC, PROCESSES)


def _hear_signals() -> None:
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)


def _close_descriptors(kept: tuple[int, ...]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    first = 3
    for each in sorted(kept):
        os.closerange(first, each)
        first = each + 1
    os.closerange(first, DESCRIPTORS * 4)


def _limit(uid: int | None) -> None:
    _set_limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _set_limit(resource.RLIMIT_CORE, 0)
    if uid is not None:
        limit_processes()


def _set_limit(kind: int, wanted: int) -> None:
    _, most = resource.getrlimit(kind)
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(kind, (limit, limit))


def _take_user(uid: int) -> None:
    """Give up every right for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # else its own /proc/self would be root's


def _execute(program: Program) -> None:
    """Become another program; what it cannot be is told in the function's log."""
    for each in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and children inherit it
        signal.signal(each, signal.SIG_DFL)
    try:
        os.execvpe(program.command[0], program.command, program.variables)  # noqa: S606
    except OSError as error:
        os.write(2, f"{program.command[0]} cannot be run: {error.strerror}\n".encode())
        os._exit(NOT_RUN)
