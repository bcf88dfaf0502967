"""How environments are kept apart on a host, and what that leaves open."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["uid", "bubblewrap", "none"]


@dataclass(frozen=True, slots=True)
class Isolation:
    """What is in force."""

    mode: Mode
    #: One line for people.
    description: str


UID: Final = Isolation(
    "uid",
    "each environment has a user, a root folder and a /tmp of its own",
)
BUBBLEWRAP: Final = Isolation(
    "bubblewrap",
    "each environment runs in bubblewrap, with processes and files of its own, under the worker's "
    "user; Python starts anew for each",
)
NONE: Final = Isolation(
    "none",
    "environments share the worker's user: a function can read the worker's files and memory, and "
    "other functions'",
)

#: Where layers are, for functions that cannot see where they are on the host.
OPT: Final = "/opt"

BY_MODE: Final[dict[Mode, Isolation]] = {each.mode: each for each in (UID, BUBBLEWRAP, NONE)}


def candidates() -> tuple[Mode, ...]:
    """What may be possible here, best first; the zygote finds out whether `uid` is."""
    root: tuple[Mode, ...] = ("uid",) if os.geteuid() == 0 else ()
    return (*root, "bubblewrap", "none")


def why_no_bubblewrap() -> str:
    """Why bubblewrap cannot be used; empty: it can. Runs it once."""
    program = shutil.which("bwrap")
    if program is None:
        return "bwrap is not installed"
    command = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"bwrap does not work: {error}"
    return "" if tried.returncode == 0 else f"bwrap does not work: {tried.stderr.strip()[:300]}"


#: bwrap(1): each environment's own processes, IPC and host name; it dies with the zygote.
_NAMESPACES: Final = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--die-with-parent",
    "--new-session",
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the host's files every environment sees, and a folder that none may see."""

    paths: tuple[str, ...]
    hidden: str


def wrap(
    command: tuple[str, ...], task_root: str, layers: str, tmp: str, shown: Shown
) -> tuple[str, ...]:
    """A command that runs another in bubblewrap; paths are the host's."""
    program = shutil.which("bwrap") or "bwrap"
    found = [program, *_NAMESPACES, "--dev", "/dev", "--proc", "/proc", "--bind", tmp, "/tmp"]
    for each in shown.paths:
        if os.path.islink(each):
            found += ["--symlink", os.readlink(each), each]
        else:
            found += ["--ro-bind-try", each, each]
    if any(shown.hidden.startswith(each + "/") for each in shown.paths):
        found += ["--tmpfs", shown.hidden]
    found += ["--ro-bind", task_root, "/var/task"]
    if layers:
        found += ["--ro-bind", layers, OPT]
    return (*found, "--chdir", "/var/task", "--", *command)
