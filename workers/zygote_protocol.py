"""What the worker and the processes that fork say to each other: JSON, a message a packet.

Standard library only: both sides import it. Descriptors travel with a message.

    to the zygote     Fork      log pipe, program[, control group]   → Forked, later Exited
                      Capture   log pipe, program, channel           → Forked, later Exited
                      Tmp                                            → Lent, with a mount
                      End                                            → Ended
                      Alive, each second
    to a snapshot     Fork      log pipe, program[, control group][, /tmp]  → Forked, later Exited

A program is a file in memory that only the forked child reads: what the zygote reads itself, it
would hand down to every child after.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import Any, Final

#: Bytes of a message at most.
MESSAGE: Final = 64 * 1024
#: Descriptors that come with one at most.
DESCRIPTORS: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """What is laid out for a process: a user of its own, and its files, by the host's names."""

    uid: int
    #: The function's code.
    task_root: str
    #: Its layers, and where they are to appear; both empty: it has none.
    layers: str
    opt: str
    #: Megabytes of its own /tmp.
    tmp: int


@dataclass(frozen=True, slots=True)
class Program:
    """What a process is to become: nobody but itself reads this."""

    variables: dict[str, str]
    handler: str
    #: The function's code, as the process sees it.
    task_root: str
    #: The program with its arguments; empty: AWS's client in the forked interpreter.
    command: list[str]


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork an environment."""

    serial: int
    #: Its process name.
    name: str
    #: None: it shares the worker's user and files.
    place: Place | None
    #: With the descriptor of a control group to enter.
    grouped: bool = False


@dataclass(frozen=True, slots=True)
class Capture:
    """Fork a process that imports a function's module, and then forks environments itself."""

    serial: int
    name: str
    place: Place | None
    #: Users that its environments get; the place's own is the first.
    uids: int


@dataclass(frozen=True, slots=True)
class Tmp:
    """Lend the mount of a user's /tmp, made if there is none."""

    serial: int
    uid: int
    #: Megabytes.
    size: int


@dataclass(frozen=True, slots=True)
class End:
    """Kill all that runs under a user, until nothing does."""

    serial: int
    uid: int
    #: Remove its /tmp then.
    close: bool
    #: With all that runs in the user namespace of its snapshot, whichever of the users it took.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker lives, and renews its lease."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It can fork from now on; or it never will, and why."""

    refused: str = ""


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that was asked for, or why there is none."""

    serial: int
    pid: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Lent:
    """A mount comes with this, unless there is an error."""

    serial: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended: its wait status, its peak resident size in bytes."""

    pid: int
    status: int
    peak: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing runs under a user any more, as the last of these requests has asked."""

    serial: int
    uid: int


Message = Fork | Capture | Tmp | End | Alive | Ready | Forked | Lent | Exited | Ended
_KINDS: Final[dict[str, type[Any]]] = {
    each.__name__: each
    for each in (Fork, Capture, Tmp, End, Alive, Ready, Forked, Lent, Exited, Ended)
}


def send(channel: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send a message with its descriptors.

    Raises:
        OSError: nobody takes it.
    """
    data = json.dumps([type(message).__name__, asdict(message)]).encode()
    socket.send_fds(channel, [data], list(descriptors))


def read(data: bytes) -> Message:
    """A message from its packet.

    Raises:
        ValueError: it is none. A snapshot runs a user's code, and may send anything.
    """
    try:
        kind, fields = json.loads(data)
        if isinstance(fields.get("place"), dict):
            fields["place"] = Place(**fields["place"])
        message: Message = _checked(_KINDS[kind](**fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no message: {data[:200]!r}") from error
    return message


def _checked(message: Any) -> Any:
    """Numbers are numbers, and texts texts."""
    for name, kind in type(message).__annotations__.items():
        value = getattr(message, name)
        expected = {"int": int, "str": str, "bool": bool}.get(kind)
        if expected is not None and type(value) is not expected:
            raise ValueError(f"{name} is {value!r}")
    return message


def write_program(program: Program) -> int:
    """A file in memory that holds a program; returns its descriptor."""
    descriptor = os.memfd_create("program", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps(asdict(program)).encode())
    return descriptor


def read_program(descriptor: int) -> Program:
    """The program in a file, wherever that has been read to."""
    size = os.fstat(descriptor).st_size
    return Program(**json.loads(os.pread(descriptor, size, 0)))
