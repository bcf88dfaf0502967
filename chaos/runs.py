"""Runs of a function, as it tells of them itself: no part of the system has a hand in it.

The function says `begin` and `end` over a connection of its environment's own. The connection ends
with the environment: a run that has begun and not ended by then was cut off.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Lock, Thread
from typing import Any, Final

#: Seconds after which the end of a killed environment's connection has surely been noticed here.
NOTICED: Final = 0.3

#: The function's module. Its name is the bucket's, too; keys say how long a run takes.
MODULE: Final = '''
import os, socket, time

from bucketwheel import function

_connections = {}


def say(line):
    """Over a connection of this process's own: it may have been forked with another's."""
    if os.getpid() not in _connections:
        address = ("127.0.0.1", int(os.environ["RUNS"]))
        _connections[os.getpid()] = socket.create_connection(address)
    _connections[os.getpid()].sendall(f"{line}\\n".encode())


@function(bucket="chaos", timeout=20, memory=128)
def note(event, context):
    key = event["Records"][0]["s3"]["object"]["key"]
    say(f"begin {context.aws_request_id} {key}")
    time.sleep(float(key.split("/")[0]))
    say(f"end {context.aws_request_id} {key}")
'''


@dataclass(slots=True)
class Run:
    """One run; moments are `time.monotonic()` of this process."""

    id: str
    key: str
    began: float
    ended: float | None = None
    #: When its environment was gone, had it not ended.
    cut: float | None = None

    @property
    def over(self) -> float:
        """When it was over; infinite while it is not."""
        return next((each for each in (self.ended, self.cut) if each is not None), float("inf"))

    def overlaps(self, later: Run) -> bool:
        """Whether it still went on when the later one began."""
        grace = 0.0 if self.ended is not None else NOTICED
        return later.began < self.over - grace


@dataclass
class Runs:
    """All that were told of."""

    port: int = 0
    _by_key: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _lock: Lock = field(default_factory=Lock)

    def of(self, key: str) -> list[Run]:
        """Runs for an object, in the order of their beginnings."""
        with self._lock:
            return sorted(self._by_key.get(key, ()), key=lambda run: run.began)

    def seen(self) -> set[str]:
        """Objects that were run for."""
        with self._lock:
            return set(self._by_key)

    def all(self) -> list[Run]:
        """Every run."""
        with self._lock:
            return [run for runs in self._by_key.values() for run in runs]

    def begin(self, id: str, key: str) -> Run:
        """A run has begun."""
        run = Run(id, key, time.monotonic())
        with self._lock:
            self._by_key[key].append(run)
        return run


@contextmanager
def listening() -> Iterator[Runs]:
    """Take notes for as long as this lasts."""
    runs = Runs()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            run: Run | None = None
            try:
                for line in self.rfile:
                    what, id, key = line.decode().rstrip("\n").split(" ", 2)
                    if what == "begin":
                        run = runs.begin(id, key)
                    elif run is not None:
                        run.ended, run = time.monotonic(), None
            except OSError:
                pass  # it was killed
            if run is not None:
                run.cut = time.monotonic()

    class Server(ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 256

        def handle_error(self, request: Any, client_address: Any) -> None:
            """An environment that was killed is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        runs.port = server.server_address[1]
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield runs
        finally:  # its thread would go on polling a descriptor that is somebody else's
            server.shutdown()
