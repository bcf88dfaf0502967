"""Snapshots, real ones: what environments that are forked from one share, and what not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.workers.hosts import Host, on_host
from workers import snapshot, users
from workers.isolation import Mode

MODES: list[Mode] = ["uid", "none"]

CODE = """
import os, random, sys, tempfile, threading, time
from snapshot_restore_py import register_after_restore, register_before_snapshot

print("importing", flush=True)
imported_by, imported = os.getpid(), os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
hooks = []
register_before_snapshot(lambda: hooks.append(["before", os.getpid() == imported_by]))
register_after_restore(lambda: hooks.append(["after", os.getpid()]))
random.seed(1)
count = 0

def handler(event, context):
    global count
    count += 1
    with open(tempfile.gettempdir() + "/mine", "a") as file:
        file.write("x")
    return {
        "count": count, "pid": os.getpid(), "imported_by": imported_by, "imported": imported,
        "hooks": hooks, "random": random.random(), "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "folder": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"],
        "tmp": os.listdir(tempfile.gettempdir()),
        "session": os.getsid(0), "application": os.environ["AWS_SDK_UA_APP_ID"],
        "zone": time.tzname[0],
        "rights": open("/proc/self/status").read().split("CapPrm:\\t")[1][:16],
    }
"""


@pytest.fixture(autouse=True)
def _time_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk is no reason to go on without a snapshot."""
    monkeypatch.setattr(snapshot, "IMPORT", 120.0)


@pytest.mark.parametrize("mode", MODES)
def test_the_module_is_imported_once(tmp_path: Path, mode: Mode) -> None:
    """Hooks before run once, hooks after in each; state, seeds and folders are each one's own."""

    async def work(host: Host) -> None:
        sandbox = host.sandbox(CODE, snap_start=True)
        answers, logs = [], []
        for each in (sandbox, host.another(sandbox.spec), host.another(sandbox.spec)):
            environment = await host.environment(each)
            answers.append(await environment.invoke())
            logs.append(await environment.kill())
            found = answers[-1]
            assert found["pid"] != found["imported_by"]
            assert found["hooks"] == [["before", True], ["after", found["pid"]]]
            assert (found["count"], found["folder"], found["tmp"]) == (1, True, ["mine"])
            assert found["session"] == found["pid"]
            assert found["application"] == each.spec.id
            assert found["secret"] == each.spec.variables["AWS_SECRET_ACCESS_KEY"]
            assert (found["imported"], found["zone"]) == ("snap-start", "UTC")
            if mode == "uid":
                assert found["rights"] == "0" * 16
        assert len({each["imported_by"] for each in answers}) == 1
        assert len({each["random"] for each in answers}) == 3
        assert [each.count("importing") for each in logs] == [1, 0, 0]

    on_host(tmp_path, mode, work)


#: Only in a snapshot, which is not the environment that the function's folder tells of.
_IN_SNAPSHOT = """
import os
if os.environ["AWS_SDK_UA_APP_ID"] != open("id").read():
    import threading, time
    {}
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "threading.Thread(target=time.sleep, args=(600,), daemon=True, name='busy').start()",
            "Refused: its import starts threads: busy",
        ),
        ("raise RuntimeError('not here')", "RuntimeError: not here"),
        (
            "import subprocess; subprocess.Popen(['sleep', '600'])",
            "Refused: its import starts other processes",
        ),
        ("os._exit(3)", "it has ended before it was ready"),
        ("held = b'x' * (300 << 20); time.sleep(600)", "its import takes over 128 MB"),
    ],
    ids=["threads", "error", "process", "exit", "memory"],
)
def test_what_cannot_be_forked_starts_ordinarily(
    tmp_path: Path, mode: Mode, code: str, reason: str
) -> None:
    """Its log says why; the function answers all the same."""

    async def work(host: Host) -> None:
        text = f"{_IN_SNAPSHOT.format(code)}\ndef handler(event, context): return 'well'\n"
        sandbox = host.sandbox(text, snap_start=True)
        (sandbox.spec.task_root / "id").write_text(sandbox.spec.id)
        environment = await host.environment(sandbox)
        assert await environment.invoke() == "well"
        assert f"No snapshot, an ordinary start: {reason}" in await environment.kill()

    on_host(tmp_path, mode, work)


def test_numpy_is_no_obstacle(tmp_path: Path) -> None:
    """Its library's threads end before a fork; its generator is seeded anew in each."""
    pytest.importorskip("numpy", reason="pip install numpy")
    code = """
    import numpy
    numpy.random.seed(1)
    def handler(event, context):
        square = numpy.ones((300, 300))
        return [float(numpy.random.random()), float((square @ square).sum())]
    """

    async def work(host: Host) -> None:
        sandbox = host.sandbox(code, snap_start=True, memory=512)
        answers = []
        for each in (sandbox, host.another(sandbox.spec)):
            environment = await host.environment(each)
            answers.append(await environment.invoke())
            assert "No snapshot" not in await environment.kill()
        assert answers[0][0] != answers[1][0]
        assert answers[0][1] == answers[1][1] == 300.0**3

    on_host(tmp_path, "uid", work)


def test_each_environment_of_a_snapshot_ends_alone(tmp_path: Path) -> None:
    """With all that it has begun, and its user free for another; its siblings go on."""
    code = """
    import os, time
    def handler(event, context):
        if event == "leave":
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                time.sleep(600)
            os.wait()
        return os.getpid()
    """

    async def work(host: Host) -> None:
        one = host.sandbox(code, snap_start=True)
        two = host.another(one.spec)
        first, second = await host.environment(one), await host.environment(two)
        await first.invoke("leave")
        await second.invoke()
        assert len([uid for _, uid in users.running() if uid == one.uid]) == 2
        await first.kill()
        await host.close(one)
        assert one.uid not in {uid for _, uid in users.running()}
        assert await second.invoke() == second.process.pid
        await second.kill()

    on_host(tmp_path, "uid", work)


def test_a_snapshot_is_root_of_its_own_users_only(tmp_path: Path) -> None:
    """Its code may become none but these, and reach nothing of the host or of other functions."""
    code = """
    import os
    tried = []
    def attempt(what):
        try:
            tried.append(str(what()))
        except OSError as error:
            tried.append(error.strerror)
    snapshot = os.getpid()
    attempt(lambda: os.setresuid(300, 300, 300))
    attempt(lambda: os.listdir(os.environ["FOLDER"]))
    attempt(lambda: os.kill(int(os.environ["WORKER"]), 9))
    attempt(lambda: os.kill(os.getppid(), 9))
    attempt(lambda: open("/etc/shadow").read())
    attempt(lambda: open("/usr/new", "w"))
    attempt(lambda: os.chroot("/tmp"))
    attempt(lambda: os.stat("/proc/1").st_uid)
    attempt(lambda: open(f"/proc/{os.environ['WORKER']}/environ").read())
    def handler(event, context):
        return tried
    """

    async def work(host: Host) -> None:
        variables = {"FOLDER": str(tmp_path), "WORKER": str(os.getpid())}
        environment = await host.environment(
            host.sandbox(code, snap_start=True, variables=variables)
        )
        assert await environment.invoke() == [
            "Invalid argument",
            "No such file or directory",
            "Operation not permitted",
            "Operation not permitted",
            "Permission denied",
            "Read-only file system",
            "Operation not permitted",
            "No such file or directory",
            "No such file or directory",
        ]
        await environment.kill()

    on_host(tmp_path, "uid", work)


def test_what_a_snapshot_has_begun_ends_with_it(tmp_path: Path) -> None:
    """Also what changes its user without end, from one of the range to the next."""
    code = """
    import os, time
    def hop():
        at = 10
        while True:
            at = 10 + (at + 1) % 200
            os.setresuid(0, 0, -1) if os.getuid() else None
            if os.fork():
                os._exit(0)
            os.setresuid(at, at, 0)
    is_snapshot = os.getuid() == 0
    for _ in range(3 if is_snapshot else 0):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            hop()
        os.wait()
    def handler(event, context):
        return "well"
    """

    async def work(host: Host) -> None:
        sandbox = host.sandbox(code, snap_start=True)
        environment = await host.environment(sandbox)
        assert await environment.invoke() == "well"
        assert "its import starts other processes" in await environment.kill()
        assert sandbox.uid is not None
        own = users.range_of(sandbox.uid)
        host.snapshots.reap(time.monotonic())
        await host.close()
        for _ in range(100):
            assert not [uid for _, uid in users.running() if uid in own]

    on_host(tmp_path, "uid", work)


def test_a_snapshot_that_speaks_no_sense_is_ended(tmp_path: Path) -> None:
    """A function's code can write to the socket by which its snapshot is asked."""
    code = """
    import os, threading
    def handler(event, context): return "well"
    import socket, time
    for descriptor in range(3, 64):
        try:
            channel = socket.socket(fileno=os.dup(descriptor))
            channel.send(b'["Ended", {"serial": 1, "uid": 0}]')
        except OSError:
            pass
    """

    async def work(host: Host) -> None:
        environment = await host.environment(host.sandbox(code, snap_start=True))
        assert await environment.invoke() == "well"
        assert "No snapshot, an ordinary start: it has ended" in await environment.kill()

    on_host(tmp_path, "uid", work)


@pytest.mark.parametrize("mode", MODES)
def test_snapshots_end_when_they_are_not_needed(tmp_path: Path, mode: Mode) -> None:
    """A version that is not deployed any more goes with its last environment; an idle one soon."""
    code = "def handler(event, context): import os; return os.getppid()\n"

    async def work(host: Host) -> None:
        async def begin() -> int:
            environment = await host.environment(host.sandbox(code, snap_start=True))
            parent: int = await environment.invoke()
            host.snapshots.reap(time.monotonic())
            host.snapshots.keep_only(set())
            assert os.path.exists(f"/proc/{parent}")  # its environment lives
            await environment.kill()
            return parent

        parent = await begin()
        while os.path.exists(f"/proc/{parent}"):
            await asyncio.sleep(0.01)

        environment = await host.environment(host.sandbox(code, snap_start=True))
        parent = await environment.invoke()
        await environment.kill()
        host.snapshots.reap(time.monotonic() - 600)
        assert os.path.exists(f"/proc/{parent}")
        host.snapshots.reap(time.monotonic())
        while os.path.exists(f"/proc/{parent}"):
            await asyncio.sleep(0.01)

    on_host(tmp_path, mode, work)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("killed", ["snapshot", "zygote"])
def test_a_snapshot_that_was_killed_is_made_anew(tmp_path: Path, mode: Mode, killed: str) -> None:
    """Its environments end with it; the next one is forked from another."""
    code = "def handler(event, context): import os; return os.getppid()\n"

    async def work(host: Host) -> None:
        sandbox = host.sandbox(code, snap_start=True)
        environment = await host.environment(sandbox)
        snapshot: int = await environment.invoke()
        assert host.zygote.pid is not None
        os.kill(snapshot if killed == "snapshot" else host.zygote.pid, signal.SIGKILL)
        assert (await environment.process.end())[0] == -signal.SIGKILL
        await host.close(sandbox)
        environment = await host.environment(host.another(sandbox.spec))
        assert await environment.invoke() not in (snapshot, host.zygote.pid)
        assert "No snapshot" not in await environment.kill()

    on_host(tmp_path, mode, work)


def test_new_credentials_make_a_new_snapshot(tmp_path: Path) -> None:
    """A client that was made during import would go on signing with the old ones."""
    code = "import os\nkey = os.environ['KEY']\ndef handler(event, context): return key\n"

    async def work(host: Host) -> None:
        for key in ("old", "new"):
            sandbox = host.sandbox(code, snap_start=True, variables={"KEY": key})
            environment = await host.environment(sandbox)
            assert await environment.invoke() == key
            assert "No snapshot" not in await environment.kill()

    on_host(tmp_path, "uid", work)


def test_in_bubblewrap_every_start_is_an_ordinary_one(tmp_path: Path) -> None:
    """A namespace cannot be forked from outside."""

    async def work(host: Host) -> None:
        environment = await host.environment(host.sandbox(CODE, snap_start=True))
        found = await environment.invoke()
        assert found["imported_by"] == found["pid"]
        await environment.kill()

    on_host(tmp_path, "bubblewrap", work)
