"""Users of environments: whose they are, and that nothing else can be ended under their name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import absent, wait_until
from workers import users
from workers.users import BLOCKS, HIGH, LOW, RANGE, SIZE, Block


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        absent("users of their own need root: run the tests as root")


def _as_zygote(program: str) -> subprocess.CompletedProcess[str]:
    """Run a single-threaded program with root's rights."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, sys, time\nfrom workers import ending, users\n{program}",
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )


def test_a_block_has_one_holder() -> None:
    """Until that lets go of it."""
    block = users.take_block()
    with pytest.raises(OSError) as caught:
        Block(block.number)
    assert caught.value.errno == errno.EADDRINUSE
    block.release()
    Block(block.number).release()


def test_users_of_a_block_are_given_once() -> None:
    """Single ones and ranges never meet, and all are the block's own."""
    block = users.take_block()
    first = LOW + block.number * SIZE
    taken = [block.take() for _ in range(100)]
    ranges = [block.take_range() for _ in range(SIZE // 2 // RANGE)]
    assert all(len(each) == RANGE for each in ranges)
    everything = [*taken, *(uid for each in ranges for uid in each)]
    assert len(set(everything)) == len(everything)
    assert all(first < uid < first + SIZE for uid in everything)
    with pytest.raises(OSError, match="range"):
        block.take_range()
    block.give_back_range(ranges[3])
    assert block.take_range() == ranges[3]
    block.release()


@pytest.mark.parametrize("uid", [0, 1, 1000, 65534, LOW - 1, LOW, LOW + SIZE, HIGH, HIGH + 1, -1])
def test_no_other_user_is_ever_ended(uid: int) -> None:
    """Refused before anything is signalled; a block's first user is the killer's own."""
    done = _as_zygote(
        f"try: ending.end_all({uid})\nexcept ending.Refused as error: print(error, os.getresuid())"
    )
    assert done.stdout == f"{uid} is no environment's user (0, 0, 0)\n"


def test_who_keeps_roots_rights_under_another_user_kills_nothing() -> None:
    """With securebits(7) set so, kill(-1) would reach the whole machine."""
    done = _as_zygote("""
from workers import linux
linux.prctl(28, 1 << 2)  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP
for check in (ending.check, lambda: ending.end_all(users.LOW + 1)):
    try: check()
    except ending.Refused as error: print(error)
print(os.getresuid())
""")
    assert done.stdout.splitlines() == [
        "this process keeps its capabilities when it changes its user",
        "this process still has root's rights",
        "(0, 0, 0)",
    ]


def test_a_namespace_of_others_is_never_ended() -> None:
    """A container's, which has got the number of a process that has ended."""
    done = _as_zygote("""
import signal, subprocess
from workers import linux
def inside():
    made, make = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(make, b"x")
        time.sleep(600)
    os.read(made, 1)
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{kind}", "w") as file:
            file.write("0 3000000 256")
    return pid
theirs = inside()
own = users.range_of(users.LOW + users.SIZE // 2)
ending.end_namespace(theirs, own, "/proc")
print(os.waitpid(theirs, os.WNOHANG))
ending.end_namespace(os.getpid(), own, "/proc")  # not even our own
ending.end_namespace(theirs, range(3000000, 3000256), "/proc")
print(os.waitpid(theirs, 0)[1])
""")
    assert done.stdout.splitlines() == ["(0, 0)", "9"], done.stderr


def test_one_users_processes_end_and_no_others() -> None:
    """However they are related; the killer cannot be killed in return."""
    done = _as_zygote("""
import signal
def sleeper(uid):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.setresuid(uid, uid, uid)
        if len(sys.argv) == 1:
            time.sleep(600)
    return pid
block = users.take_block()  # or another worker would end what nobody holds
base = users.killer(block.take())
ours, other, root = sleeper(base + 1), sleeper(base + 2), sleeper(0)
deadline = time.monotonic() + 30
both = {base + 1, base + 2}
while both - {uid for _, uid in users.running()} and time.monotonic() < deadline:
    time.sleep(0.01)
endings = ending.Endings()
endings.add(ending.Ending(base + 1, 5, close=True, whole=False))
print([each.serial for each in endings.take_ended()])
print(os.waitpid(ours, 0)[1], os.waitpid(other, os.WNOHANG)[0], os.waitpid(root, os.WNOHANG)[0])
print([each.serial for each in endings.take_ended()], bool(endings), os.getresuid())
for each in (other, root):
    os.kill(each, signal.SIGKILL)
""")
    assert done.stdout.splitlines() == ["[]", "9 0 0", "[5] False (0, 0, 0)"], done.stderr


def test_users_of_one_range_belong_together() -> None:
    """Those that are given one by one stand alone."""
    block = users.take_block()
    single, several = block.take(), block.take_range()
    assert users.range_of(single) == range(single, single + 1)
    assert {users.range_of(each) for each in several} == {several}
    block.release()


def test_what_a_dead_worker_has_left_is_found() -> None:
    """Once nobody holds its block; what a living one runs is nobody else's business."""
    block = users.take_block()
    uid = block.take()
    with subprocess.Popen(["sleep", "600"], user=uid, group=uid, extra_groups=[]) as process:
        wait_until(lambda: uid in {user for _, user in users.running()}, "it runs")
        assert block.number not in [each.number for each, _ in _taken_left()]
        block.release()
        assert (block.number, {uid}) in [(each.number, left) for each, left in _taken_left()]
        assert users.take_block().number != block.number
        process.kill()


def _taken_left() -> list[tuple[Block, set[int]]]:
    found = list(users.take_left_blocks())
    for block, _ in found:
        block.release()
    return found


def test_the_range_is_all_there() -> None:
    """Below it are containers' users, above it the kernel's limit of a signed number."""
    assert LOW == 0x7000_0000
    assert HIGH == LOW + BLOCKS * SIZE <= 0x7800_0000
