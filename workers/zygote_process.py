"""The zygote's program: a single-threaded process that has imported what functions need, and forks.

Standard library only, and of that what `awslambdaric` and usual handlers import: whatever a package
may bring its own copy of must not be here. `awslambdaric` itself must not be imported before the
fork: its C extension reads the address of the Runtime API when it is imported.

It speaks on one end of a socket pair, a message a packet, JSON:
    in:  {"serial", "name", "variables", "task_root", "handler"}, and the log pipe's descriptor
    out: {"serial", "pid"} once forked
         {"pid", "status", "peak"} once a process has ended; peak: bytes resident
"""

from __future__ import annotations

import base64
import calendar
import concurrent.futures.thread
import configparser
import copy
import ctypes
import datetime
import decimal
import email.parser
import gc
import getpass
import gzip
import hashlib
import hmac
import http.client
import inspect
import json
import logging
import os
import platform
import queue
import random
import resource
import select
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import traceback
import types
import urllib.request
import uuid
import xml.etree.ElementTree
from typing import Any

MESSAGE = 256 * 1024
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
#: AWS Lambda's quota of file descriptors.
DESCRIPTORS = 1_024


def main(descriptor: int) -> None:
    """Serve until the other end closes; in a forked child, become the environment."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=descriptor))
    if request is not None:
        _become(request)


def _serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork on demand; returns in the child, with what it is to be, and at the end."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    environments: set[int] = set()
    while True:
        waiting: list[Any] = [channel, wake_read]
        ready, _, _ = select.select(waiting, [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(channel, environments)
        if channel in ready:
            data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, 1)
            if not data:
                return None
            request = _fork(channel, json.loads(data), descriptors[0], environments)
            if request is not None:
                return request


def _fork(
    channel: socket.socket, request: dict[str, Any], log: int, environments: set[int]
) -> dict[str, Any] | None:
    zygote = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        channel.send(json.dumps({"serial": request["serial"], "error": str(error)}).encode())
        os.close(log)
        return None
    if pid == 0:
        return {**request, "log": log, "zygote": zygote}
    os.close(log)
    environments.add(pid)
    channel.send(json.dumps({"serial": request["serial"], "pid": pid}).encode())
    return None


def _reap(channel: socket.socket, environments: set[int]) -> None:
    """Report each environment that has ended, and end what it has left behind.

    An environment adopts the orphans of its tree; when it ends itself, they become ours.
    """
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            break
        if pid in environments:
            environments.remove(pid)
            ended = {"pid": pid, "status": status, "peak": usage.ru_maxrss * 1024}
            channel.send(json.dumps(ended).encode())
    for orphan in _children() - environments:
        os.kill(orphan, signal.SIGKILL)


def _children() -> set[int]:
    me = os.getpid()
    with open(f"/proc/{me}/task/{me}/children", "rb") as file:
        return {int(pid) for pid in file.read().split()}


def _become(request: dict[str, Any]) -> None:
    """Turn this forked process into an execution environment, and run the runtime client."""
    _set_process_apart(request)
    _set_interpreter_apart(request)
    from awslambdaric.__main__ import main as run

    run(["bootstrap", request["handler"]])


def _set_process_apart(request: dict[str, Any]) -> None:
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    os.setsid()
    _prctl(PR_SET_NAME, ctypes.create_string_buffer(request["name"].encode()))
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != request["zygote"]:
        os._exit(1)  # the zygote died before the line above
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(request["log"], 1)
    os.dup2(request["log"], 2)
    os.closerange(3, DESCRIPTORS * 4)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), min(DESCRIPTORS, most)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def _set_interpreter_apart(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["variables"])
    time.tzset()
    os.chdir(request["task_root"])
    random.seed()
    tempfile.tempdir = None
    sys.path[:] = [request["task_root"], *(each for each in sys.path if each)]
    sys.argv[:] = ["bootstrap", request["handler"]]
    for name in [each for each in sys.modules if each.split(".")[0] == "workers"]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _prctl(option: int, value: Any) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
