"""A sandbox: what one execution environment has for itself on this host, kept over its resets."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.configuration import FunctionConfiguration


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


class Sandboxes:
    """Makes and removes sandboxes on one host."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the environments' own /tmp."""
        self._folder = folder.absolute()

    def open(self, spec: EnvironmentSpec) -> Sandbox:
        """Make an environment's sandbox.

        Raises:
            OSError: this host cannot make it.
        """
        tmp = self._folder / spec.id
        tmp.mkdir(parents=True, mode=0o700)
        return Sandbox(spec, str(spec.task_root), str(spec.layers or tmp / "opt"), str(tmp))

    def close(self, sandbox: Sandbox) -> None:
        """Remove it, once none of its processes lives; blocks on the disk."""
        shutil.rmtree(self._folder / sandbox.spec.id, ignore_errors=True)
