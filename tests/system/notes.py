"""Notes that functions take of their runs, where no part of the system has a hand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Lock
from typing import Any

from tests.conftest import serving

#: What a function's module begins with. `note_down(text)` has a text noted; `stay(text)` does, and
#: returns once the test has let go.
NOTE = """
    import os, socket

    NOTES = socket.create_connection(("127.0.0.1", int(os.environ["NOTES"])))

    def note_down(text):
        NOTES.sendall(f"{text}\\n".encode())

    def stay(text):
        note_down(f"stay {text}")
        NOTES.recv(1)
"""


@dataclass(frozen=True)
class Notes:
    """Listens on a loopback port: functions see no file of a test's."""

    port: int
    lines: list[str] = field(default_factory=list)
    #: Set: whoever stays may go.
    gone: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _inside: Counter[str] = field(default_factory=Counter)
    _most: Counter[str] = field(default_factory=Counter)

    def count(self, prefix: str) -> Counter[str]:
        """How often each text was noted."""
        return Counter(line for line in list(self.lines) if line.startswith(prefix))

    def inside(self, text: str) -> int:
        """How many stay now."""
        return self._inside[text]

    def most(self, text: str) -> int:
        """How many have stayed at once at most."""
        return self._most[text]

    def take(self, line: str) -> bool:
        """Take a note; returns whether its writer waits for an answer."""
        with self._lock:
            self.lines.append(line)
            kind, _, text = line.partition(" ")
            if kind == "stay":
                self._inside[text] += 1
                self._most[text] = max(self._most[text], self._inside[text])
        return kind == "stay"

    def leave(self, line: str) -> None:
        """One that stayed goes on."""
        with self._lock:
            self._inside[line.partition(" ")[2]] -= 1


@contextmanager
def listening() -> Iterator[Notes]:
    """Take notes for as long as this lasts."""
    notes: Notes

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            for each in self.rfile:
                line = each.decode().rstrip("\n")
                if notes.take(line):
                    notes.gone.wait()
                    notes.leave(line)
                    self.wfile.write(b".")

    class Server(ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """An environment that was killed is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    notes = Notes(server.server_address[1])
    with serving(server):
        try:
            yield notes
        finally:
            notes.gone.set()
