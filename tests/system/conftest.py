"""One whole system a session, and functions deployed into it."""

from __future__ import annotations

import os
import signal
import textwrap
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import bucketwheel
from broker.counters import overview
from broker.logs import FunctionLogs
from bucketwheel.errors import StartError
from bucketwheel.testing import System, running
from tests.conftest import DEADLINE, absent, serving, wait_until

#: Deploys a module's text, with further arguments of the command; returns what was printed.
Deploy = Callable[..., str]
#: Calls a function by name with an event, as a user's program does; returns its response.
Call = Callable[..., Any]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """`bucketwheel up`, with retries after a tenth of a second instead of a minute."""
    with _listening() as port:
        theirs = {"ENABLE": "on", "ENDPOINT": f"http://127.0.0.1:{port}"}
        foreign = {f"MINIO_NOTIFY_WEBHOOK_{name}_THEIRS": text for name, text in theirs.items()}
        folder = tmp_path_factory.mktemp("system")
        with begun(folder, BUCKETWHEEL_RETRY_DELAY="0.1", **foreign) as found:
            yield found


@pytest.fixture
def webhook(system: System) -> str:
    """ARN of somebody else's event target in the session's store."""
    return "arn:minio:sqs::THEIRS:webhook"


class _Accept(BaseHTTPRequestHandler):
    """Takes what is posted."""

    def do_POST(self) -> None:
        """Answer that all is well."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()

    do_HEAD = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _listening() -> Iterator[int]:
    """Somebody else's webhook; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Accept)
    with serving(server):
        yield server.server_port


@contextmanager
def begun(folder: Path, **variables: str) -> Iterator[System]:
    """A system of one's own; where a server is missing, its tests are skipped."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(running(folder, System.tell, **variables))
        except StartError as error:
            if "is not installed" not in str(error):
                raise
            absent(str(error))
        yield found


@pytest.fixture
def bucket() -> str:
    """Name of a bucket that no other test uses."""
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def deploy(system: System, tmp_path: Path) -> Deploy:
    """Deploy a module's text."""
    return lambda text, *arguments: deployed(system, tmp_path, text, *arguments)


@pytest.fixture
def call(system: System, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`bucketwheel.invoke`, which finds the system by its folder."""
    monkeypatch.setenv("BUCKETWHEEL_DATA", str(system.data))
    return bucketwheel.invoke


def deployed(system: System, folder: Path, text: str, *arguments: str) -> str:
    """Deploy a module's text by way of a file in this folder; returns what was printed."""
    return system.run("deploy", str(module(folder, text)), *arguments)


def module(folder: Path, text: str) -> Path:
    """Write a module that declares functions."""
    path = folder / f"m{uuid.uuid4().hex[:8]}.py"
    path.write_text("from bucketwheel import function\n" + textwrap.dedent(text))
    return path


def status(system: System, function: str) -> dict[str, Any]:
    """A function's numbers, as `bucketwheel status` has them."""
    return asdict(overview(system.redis, [function])[0])


def wait_for(
    system: System, function: str, deadline: float = DEADLINE, **counts: int
) -> dict[str, Any]:
    """Wait until a function's numbers are these, and return them all."""

    def has_them() -> dict[str, Any]:
        row = status(system, function)
        return row if all(row[name] == count for name, count in counts.items()) else {}

    found: dict[str, Any] = wait_until(has_them, f"{function} has {counts}", deadline)
    return found


@contextmanager
def stopped(system: System, part: str) -> Iterator[None]:
    """A part that does nothing for as long as this lasts."""
    pid = system.instance.children[part]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def logged(system: System, function: str) -> str:
    """All that a function has logged."""
    return "\n".join(entry.text for entry in FunctionLogs(system.redis).read(function))
