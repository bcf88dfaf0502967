"""The zygote's program: a single-threaded process that has imported what functions need, and forks.

Standard library only, and of that what `awslambdaric` and usual handlers import, and the decorator:
whatever a package may bring its own copy of must not be here. `awslambdaric` itself must not be
imported before the fork: its C extension reads the address of the Runtime API when it is imported.

It speaks on one end of a socket pair (`workers.zygote_protocol`). Its arguments: that descriptor,
the isolation, the folder to be hidden from environments, further paths to be shown to them.
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
import importlib.util
import inspect
import json
import logging
import os
import platform
import queue
import random
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
from dataclasses import replace
from functools import partial

from workers import ending, environment_process, linux, snapshot_process, users
from workers.ending import Ending, Endings
from workers.environment_process import Birth
from workers.fork_server import ForkServer
from workers.view import VIEW, View
from workers.zygote_protocol import (
    Alive,
    Capture,
    End,
    Ended,
    Fork,
    Forked,
    Lent,
    Message,
    Place,
    Ready,
    Tmp,
    send,
)

#: Seconds between looks whether all has ended that was killed.
LOOK = 0.02
#: Seconds without a sign of life from the worker, and then for one that is on its way: where the
#: whole machine stood still, this process may be the first to go on. The worker's lease lapses a
#: second later at the earliest: nothing that it has begun may go on when others run its work.
SILENCE = 2.5
LAST_CALL = 0.5
#: Seconds for the last of an ending worker's environments to go.
LAST = 5.0


class Zygote(ForkServer):
    """Forks environments and snapshots; with users of their own, it also ends them."""

    def __init__(self, channel: socket.socket, view: View | None) -> None:
        super().__init__(channel)
        self._view = view
        self._endings = Endings("/proc" if view is None else VIEW + "/proc")
        #: Users that have had a process since this one began.
        self._used: set[int] = set()
        #: When the worker last gave a sign of life; None: it gives none.
        self._heard: float | None = None

    def take(self, message: Message, descriptors: list[int]) -> None:
        """Do what the worker asks."""
        if isinstance(message, Fork):
            self._fork_environment(message, descriptors)
        elif isinstance(message, Capture):
            self._fork_snapshot(message, descriptors)
        elif isinstance(message, Tmp):
            self._lend(message)
        elif isinstance(message, End):
            self._used.add(message.uid)
            self.kill_children_of(message.uid)
            self._endings.add(Ending(message.uid, message.serial, message.close, message.whole))
        elif isinstance(message, Alive):
            self._heard = time.monotonic()

    def look(self) -> float | None:
        """End what is to end; returns in how many seconds to look again.

        Raises:
            ConnectionError: the worker stands still.
        """
        for each in self._endings.take_ended():
            if each.close:
                self._used.discard(each.uid)
                if self._view is not None:
                    self._view.remove_tmp(each.uid)
            send(self.channel, Ended(each.serial, each.uid))
        silent = self._hears_nothing()
        return LOOK if self._endings else silent

    def _hears_nothing(self) -> float | None:
        """Seconds until the worker has given no sign of life for too long."""
        if self._heard is None:
            return None
        left = self._heard + SILENCE - time.monotonic()
        if left > 0 or select.select([self.channel], [], [], LAST_CALL)[0]:
            return max(left, LOOK)
        raise ConnectionAbortedError("the worker stands still")

    def end_everything(self) -> None:
        """The worker has gone: so must all that it had begun."""
        for uid in self._used:
            self._endings.add(Ending(uid, 0, close=False, whole=True))
        deadline = time.monotonic() + LAST
        while self._endings and time.monotonic() < deadline:
            self._endings.take_ended()
            self.reap(silently=True)
            time.sleep(LOOK / 4)

    def _fork_environment(self, message: Fork, descriptors: list[int]) -> None:
        log, program, *rest = descriptors
        group = rest[0] if message.grouped else None
        birth = Birth(message.name, os.getpid(), log, program, group)
        if message.place is not None and self._view is not None:
            settle = partial(self._view.enter, message.place)
            birth = replace(birth, uid=message.place.uid, settle=settle)
        if self._prepare(message.serial, message.place):
            self.fork(message.serial, partial(_become_environment, birth), birth.uid)

    def _fork_snapshot(self, message: Capture, descriptors: list[int]) -> None:
        log, program, channel = descriptors
        birth = Birth(message.name, os.getpid(), log, program, kept=(channel,))
        first = message.place.uid if message.place is not None else 0
        if message.place is not None and self._view is not None:
            own = range(first, first + message.uids)
            enter = partial(snapshot_process.enter_namespace, self._view, message.place, own)
            birth = replace(birth, settle=enter)
        below_tmp = self._view.shown_below("/tmp") if self._view is not None else []
        if self._prepare(message.serial, message.place):
            become = partial(snapshot_process.become, birth, first, below_tmp)
            self.fork(message.serial, become, first or None)

    def _prepare(self, serial: int, place: Place | None) -> bool:
        """Mount what a user's processes need before they are forked; a failure is told."""
        if place is None or self._view is None:
            return True
        self._used.add(place.uid)
        try:
            self._view.tmp(place.uid, place.tmp)
        except OSError as error:
            send(self.channel, Forked(serial, 0, str(error)))
            return False
        return True

    def _lend(self, message: Tmp) -> None:
        if self._view is None:
            send(self.channel, Lent(message.serial, "environments have no /tmp of their own"))
            return
        self._used.add(message.uid)
        try:
            mount = linux.clone_mount(self._view.tmp(message.uid, message.size))
        except OSError as error:
            send(self.channel, Lent(message.serial, str(error)))
            return
        send(self.channel, Lent(message.serial), (mount,))
        os.close(mount)


def main(descriptor: int, isolation: str, hidden: str, paths: list[str]) -> None:
    """Serve until the other end closes; in a forked child, become what it is to be."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel = socket.socket(fileno=descriptor)
    # The decorator, standard library only: a package cannot bring its own, since the name is taken.
    importlib.import_module("bucketwheel")
    view = None
    if isolation == "uid":
        try:
            view = _isolate(paths, hidden)
        except (OSError, ending.Refused) as error:
            send(channel, Ready(f"{error}"))
            return
    else:  # with users of their own, environments are ended one by one when the worker goes
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.collect()
    gc.freeze()
    send(channel, Ready())
    zygote = Zygote(channel, view)
    try:
        become = zygote.serve()
    except ConnectionError:  # the worker has gone, or stands still
        become = None
    if become is None:
        zygote.end_everything()
    else:
        become()


def _isolate(paths: list[str], hidden: str) -> View:
    """Build what environments see, and try it with a user of theirs.

    Raises:
        OSError: the kernel refuses, or a user could not read what Python needs.
        Refused: this process could not end environments safely.
    """
    ending.check()
    _check_giving()
    client = importlib.util.find_spec("awslambdaric")
    needed = [sys.executable, os.__file__, *([client.origin] if client and client.origin else [])]
    view = View(paths, hidden)
    view.build()
    pid = os.fork()
    if pid == 0:
        os._exit(_try(view, needed))
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise OSError(f"users without rights cannot read all of {', '.join(needed)}")
    return view


def _check_giving() -> None:
    """Refuse to begin where environments could not be given what is theirs.

    Raises:
        OSError: the kernel refuses.
    """
    reading, writing = os.pipe()
    try:
        os.fchown(writing, users.LOW, users.LOW)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: giving files away (CAP_CHOWN)") from None
    finally:
        os.close(reading)
        os.close(writing)


def _try(view: View, needed: list[str]) -> int:
    try:
        view.enter_root()
        os.setgroups([])
        os.setresgid(users.LOW, users.LOW, users.LOW)
        os.setresuid(users.LOW, users.LOW, users.LOW)
        for each in needed:
            with open(each, "rb"):
                pass
    except OSError:
        return 1
    return 0


def _become_environment(birth: Birth) -> None:
    environment_process.run(environment_process.begin(birth))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
