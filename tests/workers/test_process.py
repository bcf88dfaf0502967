"""Process trees, real ones: all of a tree ends, however it tried to leave; nothing else does."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import wait_until
from workers.process import (
    _belonging,
    descendants,
    kill_tree,
    name_of,
    proportional,
    resident,
)

#: What every program here begins with: `say` tells the test which process has come to be.
_BEGIN = """
import ctypes, os, signal, subprocess, sys, time

MARK, NAME = sys.argv[1:]
PROGRAM = "import os, time; os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(600)"

def say():
    os.write(1, b"%d\\n" % os.getpid())

def sleep():
    say()
    time.sleep(600)

def named():
    ctypes.CDLL(None).prctl(15, NAME.encode(), 0, 0, 0)

def fork(then):
    if os.fork() == 0:
        then()
        os._exit(0)

def orphan(then):
    fork(lambda: (os.setsid(), fork(then)))
    os.wait()
"""


@dataclass
class _Tree:
    """A program's processes, by what they say of themselves."""

    process: subprocess.Popen[bytes]
    mark: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, count: int) -> list[int]:
        """Process ids of the first so many that are there."""
        assert self.process.stdout is not None
        text = b""
        while text.count(b"\n") < count:
            ready, _, _ = select.select([self.process.stdout], [], [], 60)
            assert ready, f"not all of {count} processes came: {text!r}"
            text += os.read(self.process.stdout.fileno(), 4_096)
        return [int(line) for line in text.split()]

    def end(self) -> None:
        """End whatever a failing test has left."""
        kill_tree(self.pid, self.mark)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Start:
    """Starts programs; ends what they have left."""

    def __init__(self) -> None:
        self._trees: list[_Tree] = []

    def __call__(
        self, program: str, variables: dict[str, str] | None = None, mark: str = ""
    ) -> _Tree:
        mark = mark or uuid.uuid4().hex
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _BEGIN + program, mark, name_of(mark)],
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **(variables or {})},
            start_new_session=True,
        )
        self._trees.append(_Tree(process, mark))
        return self._trees[-1]

    def end(self) -> None:
        for tree in self._trees:
            tree.end()


@pytest.fixture
def start() -> Iterator[_Start]:
    """Starts a program as the leader of a session; its first two arguments are mark and name."""
    starting = _Start()
    yield starting
    starting.end()


def _state(pid: int) -> str:
    """One letter, proc(5); empty when the process has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""


def _have_ended(pids: list[int]) -> bool:
    """Whether none of them runs: what nobody has waited for is dead all the same."""
    return all(_state(pid) in ("", "Z", "X") for pid in pids)


def _ends(tree: _Tree, pids: list[int]) -> None:
    """Kill the tree, and see all of it gone."""
    assert not any(_have_ended([pid]) for pid in pids)
    kill_tree(tree.pid, tree.mark)
    tree.process.wait()
    wait_until(lambda: _have_ended(pids), f"{pids} have ended")


# -- ending ----------------------------------------------------------------------------------------


def test_children_and_theirs_end(start: _Start) -> None:
    """Also those that ignore what can be ignored."""
    tree = start("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
fork(lambda: (fork(sleep), sleep()))
sleep()
""")

    _ends(tree, tree.said(3))


def test_members_of_the_session_end_when_their_parents_have_gone(start: _Start) -> None:
    """An orphan is nobody's descendant any more."""
    tree = start("""
fork(lambda: fork(sleep))
os.wait()
sleep()
""")

    _ends(tree, tree.said(2))


def test_what_has_left_the_session_is_found_by_its_name(start: _Start) -> None:
    """A fork of an environment shows the variables of the zygote, but keeps the name."""
    tree = start("named(); orphan(sleep); sleep()")

    _ends(tree, tree.said(2))


@pytest.mark.parametrize("size", [0, 200_000])
def test_what_is_another_program_by_now_is_found_by_its_variables(start: _Start, size: int) -> None:
    """However many it has: the mark may be the last."""
    variables = {f"A{at}": "x" * 100_000 for at in range(size // 100_000)}
    mark = uuid.uuid4().hex
    tree = start(
        "orphan(lambda: os.execv(sys.executable, [sys.executable, '-S', '-c', PROGRAM])); sleep()",
        {**variables, "AWS_SDK_UA_APP_ID": mark},
        mark,
    )

    _ends(tree, tree.said(2))


def test_a_program_that_a_child_runs_in_a_session_of_its_own_ends(start: _Start) -> None:
    """With no variable at all it is still a descendant."""
    tree = start("""
subprocess.Popen([sys.executable, "-S", "-c", PROGRAM], env={}, start_new_session=True)
sleep()
""")

    _ends(tree, tree.said(2))


def test_the_session_ends_also_when_its_leader_has_gone(start: _Start) -> None:
    """The leader is reaped before its tree is swept."""
    tree = start("fork(sleep)")
    (child,) = tree.said(1)
    tree.process.wait()

    _ends(tree, [child])


def test_what_stands_still_ends(start: _Start) -> None:
    """A stopped process takes no signal but one."""
    tree = start("fork(lambda: (say(), os.kill(os.getpid(), signal.SIGSTOP))); sleep()")
    pids = tree.said(2)

    _ends(tree, pids)


def test_what_forks_without_end_ends(start: _Start) -> None:
    """Each round stops what it has found, so that nothing outruns it."""
    tree = start("""
def breed():
    say()
    for _ in range(200):
        time.sleep(0.002)
        fork(sleep)
    time.sleep(600)

for _ in range(3):
    fork(breed)
sleep()
""")
    tree.said(8)

    kill_tree(tree.pid, tree.mark)
    tree.process.wait()

    assert tree.process.stdout is not None
    while ready := select.select([tree.process.stdout], [], [], 60)[0]:
        if not os.read(tree.process.stdout.fileno(), 65_536):
            break  # nobody holds the other end any more
    assert ready


# -- sparing ---------------------------------------------------------------------------------------


def test_strangers_are_spared(start: _Start) -> None:
    """Another tree, with another mark."""
    ours, other = start("sleep()"), start("named(); orphan(sleep); sleep()")
    theirs = other.said(2)

    _ends(ours, ours.said(1))

    assert not any(_have_ended([pid]) for pid in theirs)


def test_without_a_mark_only_the_tree_and_the_session_are_meant(start: _Start) -> None:
    """The empty text is in everybody's variables; asked here, since killing would be no test."""
    tree = start("fork(lambda: fork(sleep)); os.wait(); sleep()")
    pids = tree.said(2)

    assert _belonging(tree.pid, "") == set(pids)


def test_who_kills_is_spared(start: _Start) -> None:
    """Were the mark in our own variables, nobody would be left to go on."""
    tree = start(
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from workers.process import kill_tree\n"
        "fork(sleep)\n"
        "time.sleep(0)\n"
        "kill_tree(os.getpid(), MARK)\n"
        "os.wait()\n"
        "say()\n",
        {"MARK": (mark := uuid.uuid4().hex)},
        mark,
    )

    assert tree.process.wait(60) == 0
    assert tree.said(1)[-1] == tree.pid


@pytest.mark.parametrize("pid", [0, -1])
def test_no_process_id_is_refused(pid: int) -> None:
    """Session 0 is the kernel's, or in a container that of whatever is outside."""
    with pytest.raises(ValueError, match="no process id"):
        _belonging(pid, "mark")


def test_a_tree_that_has_gone_is_no_fault(start: _Start) -> None:
    """It may end by itself at any moment."""
    tree = start("")
    tree.process.wait()

    kill_tree(tree.pid, tree.mark)
    assert descendants(tree.pid) == []


# -- measuring -------------------------------------------------------------------------------------

_MB = 1024 * 1024


def test_what_forks_share_is_counted_once_in_proportion(start: _Start) -> None:
    """Their resident sizes together are more than there is."""
    tree = start("""
held = b"x" * (64 * 1024 * 1024)
fork(sleep)
sleep()
""")
    pids = tree.said(2)

    assert descendants(tree.pid) == [pid for pid in pids if pid != tree.pid]
    assert sum(map(resident, pids)) > 128 * _MB
    assert 64 * _MB < sum(map(proportional, pids)) < 128 * _MB


def test_what_a_process_has_alone_is_all_its_own(start: _Start) -> None:
    """Both ways of counting agree but for the libraries."""
    tree = start('held = b"x" * (64 * 1024 * 1024); sleep()')
    tree.said(1)

    assert 64 * _MB < proportional(tree.pid) <= resident(tree.pid) < 128 * _MB


def test_children_of_threads_are_children(start: _Start) -> None:
    """The kernel lists them by the thread that made them."""
    tree = start("""
import threading
run = lambda: subprocess.Popen([sys.executable, "-S", "-c", PROGRAM]).wait()
threading.Thread(target=run).start()
""")
    (child,) = tree.said(1)

    assert descendants(tree.pid) == [child]
    _ends(tree, [child])


def test_of_what_has_gone_nothing_is_measured(start: _Start) -> None:
    """Zero, and no error."""
    tree = start("")
    tree.process.wait()

    assert (resident(tree.pid), proportional(tree.pid), descendants(tree.pid)) == (0, 0, [])


def test_names_fit_into_the_kernels_fifteen_characters() -> None:
    """A longer one would be cut, and never be found again."""
    mark = uuid.uuid4().hex

    assert len(name_of(mark).encode()) <= 15
    assert name_of(mark) != name_of(uuid.uuid4().hex)
