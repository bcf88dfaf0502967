"""The life of an environment, as AWS documents it.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bucketwheel.errors import FunctionError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, deployed, logged, stopped, wait_for
from tests.system.notes import NOTE, Notes, listening

CODE = f"""
{NOTE}
    import pathlib, signal, time

    calls = 0
    mark = pathlib.Path(os.environ["TMPDIR"], "mark")

    @function(timeout=5)
    def remember(event, context):
        global calls
        calls += 1
        if "write" in event:
            mark.write_text(event["write"])
        if "die" in event:
            os._exit(3)
        if "stay" in event:
            time.sleep(600)
        return [calls, mark.read_text() if mark.exists() else None]

    @function(timeout=6, maximum_retry_attempts=0)
    def linger(event, context):
        note_down(f"linger {{os.getpid()}}")
        time.sleep(600)

    @function(timeout=20)
    def polite(event, context):
        # The runtime waits outside Python: only its own signal handler, in C, can take a note.
        signal.signal(signal.SIGTERM, lambda *_: None)
        NOTES.setblocking(False)
        signal.set_wakeup_fd(NOTES.fileno())
        return os.getpid()

    @function(timeout=20)
    def stubborn(event, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return os.getpid()
"""

SLOW = """
    import os, pathlib, time

    mark = pathlib.Path(os.environ["TMPDIR"], "mark")
    if os.environ["AWS_LAMBDA_FUNCTION_NAME"] != "deployment" and not mark.exists():
        print("for the first time")
        mark.write_text("")
        time.sleep(600)

    @function(timeout=20)
    def slow_to_start(event, context):
        return "at last"
"""

BROKEN = """
    import os

    if os.environ["AWS_LAMBDA_FUNCTION_NAME"] != "deployment":
        raise RuntimeError("not today")

    @function(timeout=20)
    def broken_{at}(event, context):
        pass
"""


@pytest.fixture(scope="module")
def notes() -> Iterator[Notes]:
    """Where functions note what becomes of them."""
    with listening() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System, notes: Notes, tmp_path_factory: pytest.TempPathFactory) -> None:
    deployed(system, tmp_path_factory.mktemp("code"), CODE, "--env", f"NOTES={notes.port}")


def _fault(call: Call, function: str, event: object) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        call(function, event)
    return caught.value


def test_state_is_kept_from_call_to_call(call: Call) -> None:
    """An environment is used again, with what its module holds."""
    first, _ = call("remember", {})

    assert call("remember", {})[0] == first + 1


def test_a_crash_resets_all_but_tmp(call: Call) -> None:
    """The next call finds a new process, and the files of the one before."""
    assert _fault(call, "remember", {"write": "before", "die": 1}).type == "Runtime.ExitError"

    assert call("remember", {}) == [1, "before"]


def test_a_timeout_resets_all_but_tmp(call: Call, system: System) -> None:
    """It is worded as AWS words it, and initialisation is part of the next call, uncharged."""
    fault = _fault(call, "remember", {"write": "in time", "stay": 1})

    assert fault.type == "Sandbox.Timedout"
    assert fault.message.endswith("Task timed out after 5.00 seconds")
    assert call("remember", {}) == [1, "in time"]
    assert "Init Duration" not in logged(system, "remember").splitlines()[-1]


def test_a_deadline_holds_while_redis_is_away(call: Call, system: System, notes: Notes) -> None:
    """The supervisor waits for nobody: what has had its time is ended, and told of afterwards."""
    call("linger", {}, wait=False)
    wait_until(lambda: notes.count("linger"), "it has begun")
    pid = int(next(iter(notes.count("linger"))).split()[1])
    with stopped(system, "redis"):
        wait_until(lambda: not psutil.pid_exists(pid), "it is ended")

    wait_for(system, "linger", failed=1)


def test_initialisation_over_ten_seconds_is_retried_in_the_invocation(
    call: Call, system: System, tmp_path: Path
) -> None:
    """The function's own timeout counts then; the first try is reported."""
    deployed(system, tmp_path, SLOW)

    assert call("slow_to_start", {}) == "at last"
    log = logged(system, "slow_to_start")
    assert "for the first time" in log
    assert "\tPhase: init\tStatus: timeout" in log
    assert "INIT_REPORT Init Duration: 1" in log


def test_initialisation_that_fails_is_tried_once_more_and_reported(
    call: Call, system: System, tmp_path: Path
) -> None:
    """Both tries are in the log, and the caller gets the module's own error."""
    deployed(system, tmp_path, BROKEN.replace("{at}", "here"))
    fault = _fault(call, "broken_here", {})

    assert (fault.type, fault.message) == ("RuntimeError", "not today")
    log = logged(system, "broken_here")
    assert "\tPhase: init\tStatus: error\tError Type: RuntimeError" in log
    assert "\tPhase: invoke\tStatus: error\tError Type: RuntimeError" in log


def test_an_environment_is_told_before_it_ends(
    call: Call, system: System, notes: Notes, tmp_path: Path
) -> None:
    """SIGTERM first, in time for last words; whoever ignores it is killed."""
    told = chr(signal.SIGTERM)
    for _ in range(3):  # it has half a second for its words: without a processor it says none
        pids = call("polite", {}), call("stubborn", {})
        deployed(system, tmp_path, CODE, "--env", f"NOTES={notes.port}")  # ends the version before
        wait_until(lambda pids=pids: not any(map(psutil.pid_exists, pids)), "both have ended")  # type: ignore[misc]
        if told in notes.lines:
            break
    wait_until(lambda: told in notes.lines, "it was told")
