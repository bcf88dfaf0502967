"""What is handed to a process that forks: which program to become, and what to lay out for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workers import isolation
from workers.isolation import Mode, Shown
from workers.zygote_protocol import Place, Program

if TYPE_CHECKING:
    from workers.sandbox import Sandbox
    from workers.zygote import ForkRequest


def program_of(request: ForkRequest, mode: Mode, shown: Shown) -> Program:
    """What a forked process becomes; under bubblewrap every runtime is a program of its own."""
    sandbox = request.sandbox
    handler = sandbox.spec.configuration.handler
    command, folder = request.command, sandbox.task_root
    if mode == "bubblewrap":
        python = (sys.executable, "-m", "awslambdaric", handler)
        spec = sandbox.spec
        folders = (os.path.realpath(spec.task_root), _real(spec.layers), sandbox.host_tmp)
        command, folder = isolation.wrap(command or python, *folders, shown), "/"
    return Program(dict(request.variables), handler, folder, list(command))


def place_of(sandbox: Sandbox) -> Place | None:
    """What the zygote lays out for a sandbox; None: nothing."""
    if sandbox.uid is None:
        return None
    spec = sandbox.spec
    size = spec.configuration.ephemeral_storage
    layers, opt = _real(spec.layers), sandbox.opt
    return Place(sandbox.uid, os.path.realpath(spec.task_root), layers, opt if layers else "", size)


def _real(path: Path | None) -> str:
    return os.path.realpath(path) if path is not None and path.is_dir() else ""
