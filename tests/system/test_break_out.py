"""Functions that try to reach what is not theirs: each attempt fails, and says why.

With users of their own, which need root. A function is given Python to run in its handler; what
that comes to is its response.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bucketwheel import FunctionError
from bucketwheel.credentials import Credentials
from bucketwheel.testing import System
from tests.conftest import absent, wait_until
from tests.system.conftest import Call, Deploy, deployed, logged
from workers import users

TOKEN = "kept-by-the-victim-alone"

VICTIM = f"""
    import os

    @function(environment={{"TOKEN": "{TOKEN}"}}, timeout=30)
    def victim(event, context):
        with open("/tmp/secret", "w") as file:
            file.write(os.environ["TOKEN"])
        api = os.environ["AWS_LAMBDA_RUNTIME_API"]
        return {{"pid": os.getpid(), "uid": os.getuid(), "api": api, "event": event}}
"""

CODE = """
    import ctypes, json, os, signal, socket, subprocess, sys, time, urllib.request

    #: Programs and libraries of the host; what is no file.
    SKIPPED = ("usr", "lib", "site-packages", "dev", "proc", "sys")

    @function(timeout=30, memory=512)
    def intruder(event, context):
        try:
            found = eval(event["attempt"])
        except Exception as error:
            print("refused:", event["attempt"], "->", error)
            return str(getattr(error, "strerror", None) or error)
        return repr(found)

    @function(timeout=60, memory=512)
    def searcher(event, context):
        \"\"\"Whether secrets are in any file or in memory; they are told in halves.\"\"\"
        halves = [tuple(each.encode() for each in pair) for pair in event["halves"]]
        found = []

        def look(where, text):
            for first, second in halves:
                at = text.find(first)
                while at >= 0:
                    if text[at + len(first) : at + len(first) + len(second)] == second:
                        found.append(where)
                    at = text.find(first, at + 1)

        for folder, folders, files in os.walk("/"):
            folders[:] = [each for each in folders if each not in SKIPPED]
            for name in files:
                try:
                    with open(os.path.join(folder, name), "rb") as file:
                        look(os.path.join(folder, name), file.read(1_000_000))
                except OSError:
                    pass
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("environ", "cmdline"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    look(f"{pid}/{name}", file.read())
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                if "r" not in line.split()[1] or "[v" in line:
                    continue
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                try:
                    memory.seek(begin)
                    look(line, memory.read(end - begin))
                except (OSError, OverflowError):
                    pass
        return found

    @function(timeout=15, memory=2048)
    def bomb(event, context):
        print("USER", os.getuid(), flush=True)
        while True:
            try:
                os.fork()
            except OSError as error:
                os.write(1, f"refused: fork -> {error.strerror}\\n".encode())
                time.sleep(600)

    @function(timeout=6)
    def leave(event, context):
        print("USER", os.getuid(), flush=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(15, b"innocent", 0, 0, 0)
                os.execve("/bin/sleep", ["sleep", "3600"], {})
            os._exit(0)
        time.sleep(600)

    @function(timeout=30)
    def fill(event, context):
        try:
            with open("/tmp/big", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024 * 1024))
        except OSError as error:
            print("refused: /tmp ->", error.strerror)
            return error.strerror
        finally:
            os.remove("/tmp/big")
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        absent("environments have users of their own only under root: run the tests as root")
    for code in (VICTIM, CODE):
        deployed(system, tmp_path_factory.mktemp("code"), code)


@pytest.fixture(autouse=True)
def _all_goes_on(system: System, call: Call, _deployed: None) -> Iterator[None]:
    """After each attempt the victim is served, by the same worker."""
    worker = system.instance.children["worker"]
    yield
    assert call("victim", "well", timeout=60)["event"] == "well"
    assert system.instance.children["worker"] == worker


def _zygote(system: System) -> int:
    worker = system.instance.children["worker"]
    children = Path(f"/proc/{worker}/task").glob("*/children")
    return int(next(text for each in children if (text := each.read_text())).split()[0])


def _users(system: System, function: str) -> list[int]:
    return [int(each) for each in re.findall(r"^USER (\d+)$", logged(system, function), re.M)]


GONE, DENIED = "No such file or directory", "Permission denied"
REFUSED, FIXED = "Operation not permitted", "Read-only file system"


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        ("open('/proc/{worker}/environ').read()", GONE),
        ("open('/proc/{worker}/mem', 'rb').read(1)", GONE),
        ("open('/proc/{worker}/cmdline').read()", GONE),
        ("open('/proc/{zygote}/environ').read()", GONE),
        ("os.listdir('/proc/{worker}/root')", GONE),
        ("os.readlink('/proc/{worker}/cwd')", GONE),
        ("open('/proc/{victim}/environ').read()", GONE),
        ("open('/proc/{victim}/mem', 'rb')", GONE),
        ("open('/proc/{victim}/root/tmp/secret').read()", GONE),
        ("os.listdir('/proc/{victim}/root/var/task')", GONE),
        ("os.listdir({data!r})", GONE),
        ("open({data!r} + '/credentials.json').read()", GONE),
        ("open('/tmp/secret').read()", GONE),
        ("open('/etc/shadow').read()", DENIED),
        ("os.listdir('/home')", GONE),
        ("open('/var/task/new', 'w')", FIXED),
        ("os.remove(__file__)", FIXED),
        ("os.kill({supervisor}, signal.SIGKILL)", REFUSED),
        ("os.kill({worker}, signal.SIGKILL)", REFUSED),
        ("os.kill({zygote}, signal.SIGKILL)", REFUSED),
        ("os.kill({victim}, signal.SIGKILL)", REFUSED),
        ("os.kill(-1, signal.SIGCONT)", "None"),
        ("ctypes.CDLL(None).ptrace(16, {victim}, 0, 0)", "-1"),
        ("ctypes.CDLL(None).ptrace(16, {worker}, 0, 0)", "-1"),
        ("os.setuid(0)", REFUSED),
        ("os.setuid({uid})", REFUSED),
        ("os.chroot('/tmp')", REFUSED),
        ("os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))", REFUSED),
        ("ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None)", "-1"),
        ("ctypes.CDLL(None).unshare(0x10000000)", "-1"),
        ("ctypes.CDLL(None).unshare(0x20000)", "-1"),
        ("[open('/dev/null') for _ in range(2_000)]", "Too many open files"),
        ("urllib.request.urlopen('http://{api}/2018-06-01/runtime/invocation/next', timeout=5)",
         "<urlopen error [Errno 104] Connection reset by peer>|Remote end closed connection "
         r"without response|\[Errno 104\] Connection reset by peer|Connection reset by peer"),
    ],
)  # fmt: skip
def test_an_attempt_fails(system: System, call: Call, attempt: str, told: str) -> None:
    """The response is the kernel's word, which the log has as well."""
    victim = call("victim", "first", timeout=60)
    text = attempt.format(
        worker=system.instance.children["worker"],
        supervisor=system.instance.pid,
        zygote=_zygote(system),
        victim=victim["pid"],
        uid=victim["uid"],
        api=victim["api"],
        data=str(system.data),
    )

    found = call("intruder", {"attempt": text}, timeout=60)

    assert re.search(told, found), found
    if found not in ("-1", "None"):
        assert f"refused: {text} ->" in logged(system, "intruder")
    again = call("victim", "second", timeout=60)
    assert (again["pid"], again["event"]) == (victim["pid"], "second")


def test_the_platforms_secrets_are_nowhere(system: System, call: Call) -> None:
    """Neither in files nor in memory, nor are another function's variables."""
    call("victim", "first", timeout=60)
    known = Credentials.keep(system.data)
    secrets = [known.redis_password, known.s3_secret_key, known.user_secret_key, TOKEN]
    halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in secrets]

    assert call("searcher", {"halves": halves}, timeout=120) == []


def test_a_search_finds_what_is_there(call: Call) -> None:
    """The one above could fail: a function's own secret is in its memory."""
    attempt = {"attempt": "os.environ['AWS_SECRET_ACCESS_KEY']"}
    own = call("intruder", attempt, timeout=60).strip("'")
    assert own
    assert call("searcher", {"halves": [["AWS_SECRET_", "ACCESS_KEY"]]}, timeout=120)


def _times_out(call: Call, function: str) -> None:
    with pytest.raises(FunctionError) as caught:
        call(function, {}, timeout=120)
    assert caught.value.type == "Sandbox.Timedout"


def test_a_fork_bomb_does_no_harm(system: System, call: Call) -> None:
    """It meets its limit, and ends at the deadline with all it has made."""
    _times_out(call, "bomb")

    assert "refused: fork -> Resource temporarily unavailable" in logged(system, "bomb")
    _nothing_is_left(_users(system, "bomb"))


def test_nothing_survives_the_deadline(system: System, call: Call) -> None:
    """A session of its own, a second fork, another name, another program, no variable."""
    _times_out(call, "leave")

    _nothing_is_left(_users(system, "leave"))


def _nothing_is_left(own: list[int]) -> None:
    assert own
    wait_until(lambda: not {uid for _, uid in users.running()} & set(own), "nothing of it runs")


def test_tmp_has_its_size(system: System, call: Call) -> None:
    """Its owner alone meets the limit; then there is room again."""
    assert call("fill", {}, timeout=120) == "No space left on device"
    assert "refused: /tmp -> No space left on device" in logged(system, "fill")


def test_functions_have_users_of_their_own(call: Call) -> None:
    """None of them anybody else's."""
    found = call("victim", {}, timeout=60)["uid"]
    other = int(call("intruder", {"attempt": "os.getuid()"}, timeout=60))
    assert users.may_end(found)
    assert users.may_end(other)
    assert found != other


def test_a_snapshot_imports_once(system: System, call: Call, deploy: Deploy) -> None:
    """Environments at the same time are forked from one process that has imported the module."""
    deploy("""
        import os, time
        imported_by = os.getpid()

        @function(snap_start=True, timeout=30)
        def forked(event, context):
            time.sleep(0.3)
            return [imported_by, os.getpid(), os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
    """)
    found: list[Any] = [call("forked", {}, timeout=60) for _ in range(2)]
    assert all(by != pid and kind == "snap-start" for by, pid, kind in found)
    assert len({by for by, _, _ in found}) == 1
