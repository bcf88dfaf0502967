"""Notes that functions take of their runs, where no part of the system has a hand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

#: What a function's module begins with: `note(text)` has the text noted.
NOTE = """
    import os, socket

    NOTES = socket.create_connection(("127.0.0.1", int(os.environ["NOTES"])))

    def note_down(text):
        NOTES.sendall(f"{text}\\n".encode())
"""


@dataclass(frozen=True)
class Notes:
    """Listens on a loopback port: functions see no file of a test's."""

    port: int = 0
    lines: list[str] = field(default_factory=list)

    def count(self, prefix: str) -> Counter[str]:
        """How often each text was noted."""
        return Counter(line for line in list(self.lines) if line.startswith(prefix))


@contextmanager
def listening() -> Iterator[Notes]:
    """Take notes for as long as this lasts."""
    lines: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                lines.append(line.decode().rstrip("\n"))

    class Server(ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """An environment that was killed is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Notes(server.server_address[1], lines)
        server.shutdown()
