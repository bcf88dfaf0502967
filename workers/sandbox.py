"""A sandbox: what one execution environment has for itself on this host, kept over its resets."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from storage.configuration import FunctionConfiguration
from workers import cgroup
from workers.cgroup import Group
from workers.environment_process import PROCESSES
from workers.isolation import OPT
from workers.limits import Limit, Watch
from workers.user_ranges import UserRanges

if TYPE_CHECKING:
    from workers.zygote import Zygote

log = logging.getLogger("bucketwheel.sandbox")

#: Where a function finds its files, where it has a root folder of its own.
TASK_ROOT, TMP = "/var/task", "/tmp"
#: Where its layers are when the interpreter itself is below /opt.
LAYERS: Final = "/var/layers"


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """Which function version an environment runs, and with what."""

    id: str
    configuration: FunctionConfiguration
    #: Folder of the unpacked package, on this host.
    task_root: Path
    #: Folder of its layers laid over one another, on this host; None: it has none.
    layers: Path | None
    #: Region, endpoint and role credentials.
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Sandbox:
    """Where an environment's files are, as its processes see them, and whose they are."""

    #: The spec it was made for.
    spec: EnvironmentSpec
    #: The function's code: LAMBDA_TASK_ROOT.
    task_root: str
    #: Its layers, laid over one another; a folder that need not exist.
    opt: str
    #: Its own /tmp.
    tmp: str
    #: The user that its processes run under; None: the worker's own.
    uid: int | None = None
    #: Its /tmp by the host's name; empty: it is in memory, where the host has no name for it.
    host_tmp: str = ""
    #: The control group that holds its memory; None: the watchdog does.
    group: Group | None = None
    #: Limits that the watchdog looks at.
    watch: Watch = field(default_factory=Watch)


class Sandboxes:
    """Makes and removes sandboxes on one host; lives on the supervisor's loop."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        """`folder` holds the environments' own /tmp, where they are on the disk."""
        #: Users of function versions that have snapshots.
        self.ranges = UserRanges(zygote.users)
        self._folder = folder.absolute()
        self._zygote = zygote
        self._groups = cgroup.find()

    @property
    def limits(self) -> str:
        """What holds memory, processes and /tmp: one line for people."""
        memory = "control groups" if self._groups else "a look each 100 ms"
        if self._zygote.isolation.mode == "uid":
            return f"memory: {memory}; processes and /tmp: the kernel"
        return f"memory, processes: {memory}; /tmp: a look each 100 ms"

    def open(self, spec: EnvironmentSpec, uid: int | None = None) -> Sandbox:
        """Make an environment's sandbox; for a snapshot, with this user.

        Raises:
            OSError: this host cannot make it.
        """
        mode = self._zygote.isolation.mode
        if mode == "uid":
            uid = uid or self.ranges.take(spec) or self._zygote.users.take()
            opt = LAYERS if self._zygote.hides_opt else OPT
            return Sandbox(spec, TASK_ROOT, opt, TMP, uid, group=self._group(spec))
        group = self._group(spec)
        tmp = self._folder / spec.id
        tmp.mkdir(parents=True, mode=0o700)
        size = spec.configuration.ephemeral_storage
        watch = Watch(str(tmp), size, 0 if group else PROCESSES)
        if mode == "bubblewrap":
            return Sandbox(spec, TASK_ROOT, OPT, TMP, None, str(tmp), group, watch)
        opt = str(spec.layers or tmp / "opt")
        return Sandbox(spec, str(spec.task_root), opt, str(tmp), None, str(tmp), group, watch)

    def close(self, sandbox: Sandbox) -> None:
        """End what still runs in it, and remove it; does not wait."""
        if sandbox.uid is not None:
            self._zygote.users.free(sandbox.uid, self.ranges.giver(sandbox))
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, _remove, sandbox)

    def exceeded(self, sandbox: Sandbox, pid: int) -> Limit | None:
        """Which limit the tree of a process is over, other than that of memory."""
        return sandbox.watch.exceeded(pid)

    def was_out_of_memory(self, sandbox: Sandbox) -> bool:
        """Whether the kernel has ended it for its memory."""
        return sandbox.group is not None and sandbox.group.was_out_of_memory()

    def _group(self, spec: EnvironmentSpec) -> Group | None:
        """Its control group. A /tmp in memory counts as memory, so the limit leaves room for it."""
        if self._groups is None:
            return None
        memory = spec.configuration.memory
        if self._zygote.isolation.mode == "uid":
            memory += spec.configuration.ephemeral_storage
        try:
            return self._groups.make(spec.id, memory, PROCESSES)
        except OSError as error:
            log.warning("no control group, the watchdog holds the memory: %s", error)
            return None


def _remove(sandbox: Sandbox) -> None:
    if sandbox.host_tmp:
        shutil.rmtree(sandbox.host_tmp, ignore_errors=True)
    if sandbox.group is not None:
        sandbox.group.remove()
