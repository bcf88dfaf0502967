"""Which limits hold for functions inside the worker's container: those that hold on a host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compose.project import Project
from tests.conftest import wait_until

pytestmark = pytest.mark.compose

CODE = """
    import ctypes, os, pathlib, socket, time

    libc = ctypes.CDLL(None, use_errno=True)

    def tell(attempt):
        try:
            return str(attempt())
        except OSError as error:
            return error.strerror

    def system_call(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return "done"

    @function(timeout=60)
    def intruder(event, context):
        pathlib.Path("/tmp/mine").write_text("x")
        return {
            "worker's memory": tell(lambda: open("/proc/1/environ").read()),
            "processes": [each for each in os.listdir("/proc") if each.isdigit()],
            "data": tell(lambda: os.listdir("/data")),
            "shadow": tell(lambda: open("/etc/shadow").read()),
            "system": tell(lambda: open("/usr/new", "w")),
            "kill": tell(lambda: os.kill(1, 9)),
            "root": tell(lambda: os.setuid(0)),
            "chroot": tell(lambda: os.chroot("/tmp")),
            "user namespace": tell(lambda: system_call(libc.unshare(0x10000000))),
            "mount": tell(lambda: system_call(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))),
            "capabilities": [
                line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")
            ],
            "variables": sorted(name for name in os.environ if "BUCKETWHEEL" in name),
            "uid": os.getuid(),
        }

    @function(timeout=60)
    def neighbour(event, context):
        return os.listdir("/tmp")

    @function(memory=128, timeout=60, maximum_retry_attempts=0)
    def hoard(event, context):
        kept = [bytearray(16 * 1024 * 1024) for _ in range(64)]
        time.sleep(30)

    @function(timeout=1)
    def endless(event, context):
        while True:
            pass

    @function(ephemeral_storage=512, timeout=60)
    def fill(event, context):
        with open("/tmp/big", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1024 * 1024))

    @function(timeout=15, memory=1024)
    def bomb(event, context):
        while True:
            try:
                os.fork()
            except OSError as error:
                os.write(1, f"refused: {error.strerror}\\n".encode())
                time.sleep(600)

    @function(snap_start=True, timeout=60)
    def restored(event, context):
        return os.getuid()
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(project: Project) -> None:
    project.deploy(CODE)


def _fault(project: Project, function: str) -> str:
    """How a call of a function fails."""
    done = project.asked("invoke", function, "--payload", "{}")
    assert done.returncode == 1, done.stderr
    return done.stderr


def _call(project: Project, function: str) -> Any:
    return json.loads(project.bucketwheel("invoke", function, "--payload", "{}"))


def test_the_isolation_in_force_is_the_best(project: Project) -> None:
    """As on a host whose worker is root."""
    (host,) = wait_until(project.hosts, "the worker tells of itself")

    assert host["isolation"] == "each environment has a user, a root folder and a /tmp of its own"


def test_a_function_reaches_nothing_of_the_worker(project: Project) -> None:
    """Nor of another function, though all are processes of one container."""
    found = _call(project, "intruder")

    refused = "Operation not permitted"
    assert found["worker's memory"] == "No such file or directory"
    assert len(found["processes"]) <= 2
    assert found["data"] == "No such file or directory"
    assert found["shadow"] == "Permission denied"
    assert found["system"] == "Read-only file system"
    assert found["kill"] == found["root"] == found["chroot"] == found["mount"] == refused
    assert found["user namespace"] == refused
    assert found["capabilities"] == ["0000000000000000"]
    assert found["variables"] == []
    assert found["uid"] >= 0x7000_0000
    assert _call(project, "neighbour") == []


def test_memory_is_held(project: Project) -> None:
    """The environment ends, the worker does not."""
    assert "Runtime.OutOfMemory" in _fault(project, "hoard")


def test_the_deadline_is_held(project: Project) -> None:
    """By the whole tree."""
    assert "Task timed out after 1.00 seconds" in _fault(project, "endless")


def test_the_size_of_tmp_is_held(project: Project) -> None:
    """By the kernel."""
    assert "No space left on device" in _fault(project, "fill")


def test_the_number_of_processes_is_held(project: Project) -> None:
    """By the kernel; and all of them end."""
    assert "timed out" in _fault(project, "bomb")
    wait_until(
        lambda: "refused: Resource temporarily unavailable" in project.bucketwheel("logs", "bomb"),
        "its log is there",
    )
    assert _call(project, "neighbour") == []


def test_a_snapshot_works_inside(project: Project) -> None:
    """It is root of its own users only, which needs a user namespace."""
    assert _call(project, "restored") > 0
    wait_until(lambda: project.status("restored")["succeeded"] == 1, "it is counted")


def test_without_rights_functions_run_and_the_worker_says_what_is_open(project: Project) -> None:
    """As the README says for hosts that refuse the capabilities."""
    services = "services: {worker: {user: bucketwheel, cap_add: !reset []}}\n"
    (project.folder / "without-rights.yml").write_text(services)
    project.up(COMPOSE_FILE="docker-compose.yml:without-rights.yml")
    try:
        assert _call(project, "neighbour") == []
        (host,) = wait_until(project.hosts, "the worker tells of itself")
        assert host["isolation"].startswith("environments share the worker's user")
        assert "Task timed out after 1.00 seconds" in _fault(project, "endless")
        assert "Runtime.OutOfMemory" in _fault(project, "hoard")
    finally:
        project.up()


def test_the_containers_memory_is_the_hosts(project: Project) -> None:
    """Functions get 80 % of what the container may have."""
    project.up(BUCKETWHEEL_WORKER_MEMORY="1g")
    try:
        wait_until(
            lambda: [each["memory"] for each in project.hosts()] == [819], "the budget is 819 MB"
        )
    finally:
        project.up()
