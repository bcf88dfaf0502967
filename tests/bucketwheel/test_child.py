"""A child: started apart, watched, ended; and with us it ends, whatever ends us."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bucketwheel.child import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Child, ChildSpec
from bucketwheel.errors import StartError
from tests.conftest import wait_until
from workers.process import descendants

#: Ends by itself when it is asked to.
WILLING = "import time\nprint('here', flush=True)\ntime.sleep(600)"
#: Does not.
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WILLING


class _Make:
    """Makes children; ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: list[Child] = []

    def __call__(self, program: str, **values: Any) -> Child:
        defaults: dict[str, Any] = {
            "name": "worker",
            "command": (sys.executable, "-S", "-c", program),
            "environment": {"PATH": os.environ["PATH"]},
        }
        child = Child(ChildSpec(**{**defaults, **values}), self.folder, self.folder)
        self._children.append(child)
        return child

    def end(self) -> None:
        for child in self._children:
            child.kill()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[_Make]:
    """Makes children of Python programs."""
    making = _Make(tmp_path)
    yield making
    making.end()


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _said(child: Child) -> list[str]:
    return [] if not child.log.path.exists() else child.log.path.read_text().split()


def _started(child: Child) -> int:
    """Start it, and wait until its program runs."""
    child.start()
    wait_until(lambda: "here" in _said(child), "the child runs")
    assert child.pid is not None
    return child.pid


def _ended(child: Child) -> str:
    how: str = wait_until(child.has_ended, "the child has ended")
    return how


# -- starting --------------------------------------------------------------------------------------


def test_a_child_has_what_it_was_given_and_nothing_of_ours(make: _Make, tmp_path: Path) -> None:
    """Its variables, its folder, no input, no descriptor, a session of its own."""
    program = """
import os, sys
print(os.getcwd(), sorted(os.environ), os.getsid(0) == os.getpid(), sys.stdin.read() == "")
print(len(os.listdir("/proc/self/fd")))
"""
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        child = make(program, environment={"A": "1", "LC_CTYPE": "C.UTF-8"})
        child.start()
        _ended(child)

    told, descriptors = child.log.path.read_text().splitlines()
    assert told == f"{tmp_path} ['A', 'LC_CTYPE'] True True"
    assert descriptors == "4"  # input, output, errors, and the listing itself


def test_a_program_that_there_is_not_is_told_by_name(make: _Make) -> None:
    """The person may have to install it."""
    child = make("", command=("/nowhere/redis-server",))

    with pytest.raises(StartError, match=r"^/nowhere/redis-server cannot be run: .*No such file"):
        child.start()

    assert child.pid is None
    assert child.has_ended() == ""
    assert child.stop(lambda: False)


def test_secrets_in_variables_are_not_shown() -> None:
    """A specification may be printed."""
    spec = ChildSpec("minio", ("minio",), {"MINIO_ROOT_PASSWORD": "hush-hush"})

    assert "hush-hush" not in repr(spec)


def test_what_it_says_is_for_the_owner_alone(make: _Make) -> None:
    """Both its outputs, in the order of its words."""
    child = make("import sys\nprint('one', flush=True)\nprint('two', file=sys.stderr)")
    child.start()
    _ended(child)

    assert child.log.tail() == ["one", "two"]
    assert stat.S_IMODE(child.log.path.stat().st_mode) == 0o600


# -- ending by itself ------------------------------------------------------------------------------


def test_a_living_child_has_not_ended(make: _Make) -> None:
    """Asked as often as one likes."""
    child = make(WILLING)
    _started(child)

    assert child.has_ended() == ""
    assert child.has_ended() == ""


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("raise SystemExit(3)", "ended with exit status 3"),
        ("", "ended with exit status 0"),
        ("import os\nos.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("import os\nos.abort()", "was ended by SIGABRT"),
    ],
)
def test_how_it_ended_is_told_once_in_words(make: _Make, program: str, how: str) -> None:
    """Then it is down, until it is started again."""
    child = make(program)
    child.start()

    assert _ended(child) == how
    assert (child.has_ended(), child.pid) == ("", None)


def test_what_it_has_left_behind_ends_too(make: _Make) -> None:
    """A new one would find its port taken, or its work being done twice."""
    child = make("""
import os, time
if os.fork() == 0:
    os.write(1, b"%d here\\n" % os.getpid())
    time.sleep(600)
""")
    child.start()
    wait_until(lambda: "here" in _said(child), "it has left a process behind")
    left = int(_said(child)[0])

    _ended(child)

    wait_until(lambda: not _is_alive(left), "what it left has ended")


def test_pauses_between_starts_grow_and_a_steady_life_ends_them(make: _Make) -> None:
    """What cannot run must not keep the machine busy."""
    child = make("")
    child.start()
    pauses = [child.postpone() for _ in range(9)]

    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert child.due is not None
    child._started -= STEADY + 1
    assert child.postpone() == FIRST_PAUSE


# -- being ended -----------------------------------------------------------------------------------


def test_a_willing_child_ends_when_it_is_asked(make: _Make) -> None:
    """And can be started again."""
    child = make(WILLING)
    pid = _started(child)

    assert child.stop(lambda: False)
    assert (child.pid, _is_alive(pid)) == (None, False)
    child.log.begin()
    assert _started(child) != pid


def test_a_stubborn_child_is_killed_when_patience_ends(make: _Make) -> None:
    """With all it has started."""
    child = make("import os\nos.fork()\n" + STUBBORN, patience=0.2)
    pid = _started(child)
    wait_until(lambda: _said(child).count("here") == 2, "both run")
    family = [pid, *descendants(pid)]

    assert not child.stop(lambda: False)
    assert len(family) == 2
    wait_until(lambda: not any(map(_is_alive, family)), "both have ended")


def test_who_is_in_a_hurry_does_not_wait(make: _Make) -> None:
    """This test would last an hour."""
    child = make(STUBBORN, patience=3_600.0)
    _started(child)

    assert not child.stop(lambda: True)


def test_what_has_left_its_session_is_found_by_its_mark(make: _Make) -> None:
    """Environments of a worker are in sessions of their own, below a process of its own."""
    mark = f"TMPDIR=/{uuid.uuid4().hex}/"
    program = """
import os, subprocess, sys
program = "import os, time; os.write(1, b'%d here ' % os.getpid()); time.sleep(600)"
variables = {"TMPDIR": sys.argv[1].removeprefix("TMPDIR=") + "environment"}
subprocess.Popen([sys.executable, "-S", "-c", program], env=variables, start_new_session=True)
"""
    child = make("", command=(sys.executable, "-S", "-c", program, mark), mark=mark)
    child.start()
    wait_until(lambda: "here" in _said(child), "it has left a process behind")
    left = int(_said(child)[0])

    _ended(child)

    wait_until(lambda: not _is_alive(left), "what it left has ended")


def test_stopping_twice_is_safe(make: _Make) -> None:
    """As is stopping what was never started."""
    child = make(WILLING)
    assert child.stop(lambda: False)
    _started(child)

    assert child.stop(lambda: False)
    assert child.stop(lambda: False)
    child.kill()


# -- being orphaned --------------------------------------------------------------------------------


@pytest.mark.parametrize("orphaned", ["SIGKILL", "SIGTERM"])
def test_a_child_ends_with_us_whatever_ends_us(tmp_path: Path, orphaned: str) -> None:
    """Nothing of ours is left that nobody watches."""
    program = f"""
import signal, sys, time
from pathlib import Path
from bucketwheel.child import Child, ChildSpec

spec = ChildSpec(
    "child", (sys.executable, "-c", {WILLING!r}), {{}}, orphaned=signal.{orphaned}
)
child = Child(spec, Path("."), Path("."))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        log = tmp_path / "child.log"
        wait_until(lambda: log.exists() and "here" in log.read_text(), "the child runs")

        parent.send_signal(signal.SIGKILL)

    wait_until(lambda: not _is_alive(pid), "the child has ended")
