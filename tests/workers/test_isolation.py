"""Environments with users of their own, real ones: what they see, and that they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.workers.hosts import Host, on_host
from workers import users
from workers.isolation import Mode

#: Prints what each line of a program comes to.
_TRY = """
import ctypes, mmap, os, resource, signal, socket, subprocess, sys, time

def attempt(what):
    try:
        print(what())
    except OSError as error:
        print(error.strerror)
    except BaseException as error:
        print(type(error).__name__)
"""


def _running(uid: int | None) -> list[int]:
    return [pid for pid, user in users.running() if user == uid]


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        ("os.listdir({folder!r})", "No such file or directory"),
        ("open('/etc/shadow').read()", "Permission denied"),
        ("open('/var/task/new', 'w')", "Read-only file system"),
        ("open('/usr/new', 'w')", "Read-only file system"),
        ("open('/new', 'w')", "Read-only file system"),
        ("open('/proc/{worker}/environ').read()", "No such file or directory"),
        ("open('/proc/{worker}/mem', 'rb')", "No such file or directory"),
        ("open('/proc/{zygote}/cmdline').read()", "No such file or directory"),
        ("os.kill({worker}, signal.SIGKILL)", "Operation not permitted"),
        ("os.kill({zygote}, signal.SIGKILL)", "Operation not permitted"),
        ("os.kill(os.getppid(), signal.SIGKILL)", "Operation not permitted"),
        ("os.setuid(0)", "Operation not permitted"),
        ("os.setgroups([0])", "Operation not permitted"),
        ("os.chroot('/tmp')", "Operation not permitted"),
        ("os.getgroups()", "[]"),
        ("subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp']).returncode != 0", "True"),
        ("subprocess.run(['unshare', '--user', 'true']).returncode != 0", "True"),
        ("subprocess.run(['unshare', '--mount', 'true']).returncode != 0", "True"),
        ("ctypes.CDLL(None).ptrace(16, {worker}, 0, 0)", "-1"),
        ("resource.getrlimit(resource.RLIMIT_CORE)", "(0, 0)"),
        ("[os.open('/dev/null', os.O_RDONLY) for _ in range(2000)]", "Too many open files"),
        ("os.stat('/tmp').st_mode & 0o777 == 0o700", "True"),
        ("os.umask(0) == 0o077", "True"),
        ("os.getsid(0) == os.getpid()", "True"),
        ("'CapEff:\\t0000000000000000' in open('/proc/self/status').read()", "True"),
        ("'NoNewPrivs:\\t1' in open('/proc/self/status').read()", "True"),
        ("len(open('/proc/self/mem', 'rb').name) > 0", "True"),
        ("open('/dev/stdout', 'w').write('')", "0"),
        ("__import__('boto3').__name__", "boto3"),
        ("__import__('bucketwheel').function is not None", "True"),
    ],
)
def test_what_an_environment_can_and_cannot(tmp_path: Path, attempt: str, told: str) -> None:
    """By the kernel's own word."""

    async def work(host: Host) -> None:
        names = {"worker": os.getpid(), "zygote": host.zygote.pid, "folder": str(tmp_path)}
        code, printed = await host.run(f"{_TRY}\nattempt(lambda: {attempt.format(**names)})")
        assert (code, printed.splitlines()[-1]) == (0, told)

    on_host(tmp_path, "uid", work)


@pytest.mark.parametrize("mode", ["uid", "bubblewrap", "none"])
def test_what_is_killed_at_its_birth_ends(tmp_path: Path, mode: Mode) -> None:
    """Also while it has not become its user yet."""

    async def work(host: Host) -> None:
        for _ in range(10):
            process = await host.start(host.sandbox(), "/bin/sleep", "600")
            assert await process.kill() == (-signal.SIGKILL, "")

    on_host(tmp_path, mode, work)


def test_tmp_is_full_at_its_size(tmp_path: Path) -> None:
    """No byte more than the function's configuration says, in however many files."""
    script = (
        _TRY
        + """
block = bytes(1024 * 1024)
def fill():
    with open("/tmp/big", "wb", buffering=0) as file:
        while True:
            file.write(block)
attempt(fill)
print(os.stat("/tmp/big").st_size // 2**20)
os.remove("/tmp/big")
print(os.statvfs("/tmp").f_files <= 512 * 256)
"""
    )

    async def work(host: Host) -> None:
        assert await host.run(script) == (0, "No space left on device\n512\nTrue")

    on_host(tmp_path, "uid", work)


def test_a_fork_bomb_stays_small_and_ends(tmp_path: Path) -> None:
    """The kernel refuses at the limit; what is there ends in one blow."""
    bomb = """
    import os, time
    while True:
        try:
            os.fork()
        except OSError as error:
            os.write(1, (error.strerror + "\\n").encode())
            time.sleep(600)
    """

    async def work(host: Host) -> None:
        sandbox = host.sandbox()
        process = await host.start(
            sandbox, sys.executable, "-S", "-c", bomb.replace("\n    ", "\n")
        )
        while "temporarily unavailable" not in "\n".join(process.log.take()):
            await asyncio.sleep(0.05)
        assert 500 < len(_running(sandbox.uid)) <= 1_024
        await process.kill()
        await host.close(sandbox)
        assert not _running(sandbox.uid)

    on_host(tmp_path, "uid", work)


@pytest.mark.parametrize("mode", ["uid", "bubblewrap", "none"])
def test_nothing_is_left_of_what_has_left_its_session(tmp_path: Path, mode: Mode) -> None:
    """setsid and a second fork, with no variable and another name."""
    script = """
    import ctypes, os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"other", 0, 0, 0)
            os.execve("/bin/sleep", ["sleep", "612.5"], {"MARK": os.environ["MARK"]})
    print("begun", flush=True)
    time.sleep(600)
    """

    async def work(host: Host) -> None:
        sandbox = host.sandbox()
        command = (sys.executable, "-c", script.replace("\n    ", "\n"))
        process = await host.start(sandbox, *command)
        while "begun" not in "\n".join(process.log.take()):
            await asyncio.sleep(0.01)
        assert (await process.kill())[0] == -signal.SIGKILL
        await host.close()
        wait_until(lambda: not _sleepers(), "the orphan has ended")

    on_host(tmp_path, mode, work)


def _sleepers() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if text == b"sleep\x00612.5\x00":
            found.append(pid)
    return found


@pytest.mark.parametrize("mode", ["uid", "bubblewrap", "none"])
def test_tmp_stays_over_a_reset_and_goes_with_the_sandbox(tmp_path: Path, mode: Mode) -> None:
    """A crash or a timeout starts another process in the same sandbox."""

    async def work(host: Host) -> None:
        sandbox = host.sandbox()
        keep = f"open({sandbox.tmp + '/kept'!r}, 'a').write('x')"
        process = await host.start(
            sandbox, sys.executable, "-c", f"{keep}; import time; time.sleep(600)"
        )
        show = f"""
        import time
        while True:
            try:
                if text := open({sandbox.tmp + "/kept"!r}).read():
                    print(text)
                    break
            except OSError:
                pass
            time.sleep(0.01)
        """
        assert await host.run(show, sandbox) == (0, "x")
        await process.kill()
        assert (await host.run(show, sandbox))[1] == "x"
        other = host.another(sandbox.spec)
        assert (await host.run("import os; print(os.listdir('/tmp'))", other))[0] == 0
        if mode != "none":
            assert (await host.run("import os; print(os.listdir('/tmp'))", other))[1] == "[]"

    on_host(tmp_path, mode, work)


def test_sandboxes_do_not_see_one_another(tmp_path: Path) -> None:
    """Neither processes nor files, neither variables nor memory; nor may one end another."""
    peek = """
    import os, sys
    pid = int(os.environ["OTHER"])
    for what in (
        lambda: open(f"/proc/{pid}/environ").read(),
        lambda: os.kill(pid, 9),
        lambda: os.listdir(f"/proc/{pid}/root/tmp"),
        lambda: open(f"/proc/{pid}/mem", "rb"),
    ):
        try:
            print("REACHED", what())
        except OSError as error:
            print(error.strerror)
    print(sorted(each for each in os.listdir("/proc") if each.isdigit()) == [str(os.getpid())])
    """

    async def work(host: Host) -> None:
        one, two = host.sandbox(), host.sandbox()
        process = await host.start(one, "sleep", "600", variables={"TOKEN": "none of yours"})
        command = (sys.executable, "-c", peek.replace("\n    ", "\n"))
        told = await (await host.start(two, *command, variables={"OTHER": str(process.pid)})).end()
        absent = "No such file or directory"
        lines = [absent, "Operation not permitted", absent, absent, "True"]
        assert told == (0, "\n".join(lines))
        assert one.uid != two.uid
        await process.kill()

    on_host(tmp_path, "uid", work)


_SCAN = """
    import os
    NEEDLE = b"found-" + b"only-where-it-is-"
    def handler(event, context):
        found = []
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                if "r" not in line.split()[1] or "[v" in line:
                    continue
                try:
                    memory.seek(begin)
                    text = memory.read(end - begin)
                except (OSError, OverflowError):
                    continue
                at = text.find(NEEDLE)
                while at >= 0:
                    found.append(text[at : at + 40].decode("latin-1").split("@")[0])
                    at = text.find(NEEDLE, at + 1)
        return sorted(set(found))
"""


@pytest.mark.parametrize("mode", ["uid", "none"])
def test_the_memory_that_is_handed_down_holds_nobodys_secret(tmp_path: Path, mode: Mode) -> None:
    """What went to other functions before is nowhere in what the zygote hands down."""

    async def work(host: Host) -> None:
        found: list[Any] = []
        for who in ("one", "two"):
            secret = {"AWS_SECRET_ACCESS_KEY": f"found-only-where-it-is-{who}@"}
            environment = await host.environment(host.sandbox(_SCAN, name=who, variables=secret))
            found.append(await environment.invoke())
            await environment.kill()
        assert [each for each in found[0] if each.endswith("one")]
        assert [each for each in found[1] if each.endswith("two")]
        assert not [each for each in found[1] if each.endswith("one")]

    on_host(tmp_path, mode, work)


def test_a_program_that_is_missing_is_told_in_the_log(tmp_path: Path) -> None:
    """Its exit status is the shells'."""

    async def work(host: Host) -> None:
        process = await host.start(host.sandbox(), "no-such-program")
        assert await process.end() == (
            127,
            "no-such-program cannot be run: No such file or directory",
        )

    on_host(tmp_path, "uid", work)


def test_a_dead_zygote_leaves_nothing(tmp_path: Path) -> None:
    """Another kills what is left, whether or not a fork is asked for."""

    async def work(host: Host) -> None:
        sandbox = host.sandbox()
        process = await host.start(sandbox, "sh", "-c", "setsid sleep 600 & setsid sleep 600")
        while len(_running(sandbox.uid)) < 3:
            await asyncio.sleep(0.01)
        assert host.zygote.pid is not None
        os.kill(host.zygote.pid, signal.SIGKILL)
        assert (await process.end())[0] == -signal.SIGKILL
        while _running(sandbox.uid):
            await asyncio.sleep(0.01)
        assert (await host.run("print('again')", sandbox)) == (0, "again")

    on_host(tmp_path, "uid", work)


_WORKER = """
import asyncio, os, sys
from pathlib import Path
from tests.workers.hosts import on_host
async def work(host):
    sandbox = host.sandbox()
    await host.start(sandbox, "sh", "-c", "setsid sleep 600 & setsid sleep 600")
    print(sandbox.uid, host.zygote.pid, flush=True)
    await asyncio.sleep(600)
on_host(Path(sys.argv[1]), "uid", work)
"""


@pytest.mark.parametrize("zygote_too", [False, True])
def test_a_killed_worker_leaves_nothing(tmp_path: Path, zygote_too: bool) -> None:
    """Its zygote ends all; was that killed too, the next worker does so when it begins."""

    async def nothing(host: Host) -> None:
        while host.zygote.users.is_ending:
            await asyncio.sleep(0.01)

    on_host(tmp_path, "uid", nothing)  # skipped where there are no users
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as worker:
        assert worker.stdout is not None
        uid, zygote = map(int, worker.stdout.readline().split())
        wait_until(lambda: len(_running(uid)) >= 3, "all of it runs")
        if zygote_too:
            os.kill(zygote, signal.SIGSTOP)  # or it would act between the two
        worker.kill()
        worker.wait()
        if zygote_too:
            os.kill(zygote, signal.SIGKILL)
            on_host(tmp_path, "uid", nothing)
        wait_until(lambda: not _running(uid), "nothing of it runs any more")


def test_users_are_used_again_only_when_nothing_runs_under_them(tmp_path: Path) -> None:
    """And its /tmp is another's then."""

    async def work(host: Host) -> None:
        block = host.zygote.users._block
        assert block is not None
        while len(block._single) > 1:
            block._single.pop()
        sandbox = host.sandbox()
        assert (await host.run("open('/tmp/mine', 'w')", sandbox))[0] == 0
        with pytest.raises(OSError, match="every user"):
            host.sandbox()
        await host.close(sandbox)
        again = host.sandbox()
        assert again.uid == sandbox.uid
        assert await host.run("import os; print(os.listdir('/tmp'))", again) == (0, "[]")

    on_host(tmp_path, "uid", work)


def test_a_folder_that_only_its_owner_may_enter_is_no_obstacle(tmp_path: Path) -> None:
    """Neither is one below the interpreter's own, which no environment sees."""
    tmp_path.chmod(0o700)
    code = "def handler(event, context): return open(__file__).read()[:3]\n"

    async def work(host: Host) -> None:
        environment = await host.environment(host.sandbox(code))
        assert await environment.invoke() == "def"
        await environment.kill()

    on_host(tmp_path, "uid", work)


def test_bubblewrap_shows_no_more_than_it_must(tmp_path: Path) -> None:
    """Its own processes, no other's files."""
    script = """
    import os
    print(os.getcwd(), os.listdir("/tmp"), os.path.exists(os.environ["FOLDER"]))
    print(sorted(each for each in os.listdir("/proc") if each.isdigit()))
    import awslambdaric
    """

    async def work(host: Host) -> None:
        command = (sys.executable, "-c", script.replace("\n    ", "\n"))
        process = await host.start(host.sandbox(), *command, variables={"FOLDER": str(tmp_path)})
        assert await process.end() == (0, "/var/task [] False\n['1', '2']")

    on_host(tmp_path, "bubblewrap", work)


@pytest.mark.parametrize("mode", ["uid", "bubblewrap", "none"])
def test_a_function_runs_in_each_isolation(tmp_path: Path, mode: Mode) -> None:
    """With its variables, in its folder."""
    code = """
    import os
    def handler(event, context):
        at_home = os.getcwd() == os.environ["LAMBDA_TASK_ROOT"]
        return [event, os.environ["AWS_SECRET_ACCESS_KEY"], at_home]
    """

    async def work(host: Host) -> None:
        sandbox = host.sandbox(code, variables={"AWS_SECRET_ACCESS_KEY": "s"})
        environment = await host.environment(sandbox)
        assert await environment.invoke(1) == [1, "s", True]
        assert await environment.invoke(2) == [2, "s", True]
        await environment.kill()

    on_host(tmp_path, mode, work)
