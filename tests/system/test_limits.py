"""What a handler may do to itself, it does to itself alone: everything else goes on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from bucketwheel import FunctionError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, Deploy, deployed, logged, wait_for

MB = 1024 * 1024

CODE = """
    import ctypes, json, os, signal, subprocess, sys, tempfile, threading, time

    runs = 0

    @function(timeout=30)
    def stay_well(event, context):
        return "well"

    @function(timeout=1)
    def never_return(event, context):
        print("begun")
        while True:
            pass

    @function(timeout=1)
    def sleep_deaf(event, context):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3_600)

    @function(timeout=2)
    def leave_children(event, context):
        sleep = ["sleep", "3600"]
        started = [
            subprocess.Popen(sleep),
            subprocess.Popen(sleep, start_new_session=True),
            subprocess.Popen(sleep, start_new_session=True, env={}),
        ]
        print("PIDS", *(each.pid for each in started), flush=True)
        time.sleep(3_600)

    @function(timeout=2)
    def leave_orphans(event, context):
        told = "echo PIDS $$; exec sleep 3600"
        command = ["setsid", "sh", "-c", f"env -i sh -c '{told}' & exit"]
        subprocess.Popen(command, env={}).wait()
        time.sleep(3_600)

    @function(timeout=3, memory=2048)
    def multiply(event, context):
        for _ in range(4):
            os.fork()
        os.write(1, f"PIDS {os.getpid()}\\n".encode())
        time.sleep(3_600)

    @function(timeout=30)
    def die(event, context):
        how = event["how"]
        if how == "os._exit":
            os._exit(3)
        elif how == "sys.exit":
            sys.exit(4)
        elif how == "segfault":
            ctypes.string_at(0)
        elif how == "abort":
            os.abort()
        elif how == "kill itself":
            os.kill(os.getpid(), signal.SIGKILL)

    @function(timeout=60)
    def chatter(event, context):
        line = "x" * 9_999
        for _ in range(20_000):
            print(line)
        return "told"

    @function(timeout=30)
    def return_anything(event, context):
        kind = event["kind"]
        return {
            "object": object(), "set": {1}, "key": {(1, 2): 3}, "bytes": b"x", "lone": "\\ud800",
        }[kind]

    @function(memory=256, timeout=30)
    def return_much(event, context):
        return "x" * event["size"]

    @function(memory=128, timeout=30)
    def hoard(event, context):
        hoarded = bytearray(300 * 1024**2)
        hoarded[::4096] = bytes(len(hoarded[::4096]))
        time.sleep(20)

    @function(memory=128, timeout=30)
    def hoard_in_children(event, context):
        code = "import time; held = b'x' * 80 * 1024**2; time.sleep(20)"
        for child in [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]:
            child.wait()

    @function(timeout=30)
    def share(event, context):
        held = b"x" * 40 * 1024**2
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                time.sleep(2)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return "shared"

    @function(timeout=30)
    def recurse(event, context):
        return recurse(event, context)

    @function(memory=512, timeout=30)
    def complain(event, context):
        raise ValueError("x" * event["size"])

    @function(timeout=30)
    def close_output(event, context):
        print("before", flush=True)
        os.close(1)
        os.close(2)
        return "still here"

    @function
    def close_everything(event, context):
        os.closerange(0, 1024)
        return "gone"

    @function
    def kill_parent(event, context):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1)

    @function(timeout=30)
    def count_runs(event, context):
        global runs
        runs += 1
        return [os.getpid(), runs]

    @function(timeout=30)
    def use_tmp(event, context):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 1_000_000)
            return [tempfile.gettempdir(), os.environ["TMPDIR"], os.path.dirname(file.name),
                    os.path.expanduser("~")]

    @function(timeout=30)
    def thread_fails(event, context):
        def fail(): raise RuntimeError("in a thread")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        return "answered"

    @function(timeout=30)
    def raise_base(event, context):
        raise KeyboardInterrupt("stop")
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    deployed(system, tmp_path_factory.mktemp("code"), CODE)


@pytest.fixture(autouse=True)
def _all_goes_on(system: System, call: Call, _deployed: None) -> Iterator[None]:
    """After each test another function is served, by the same worker."""
    worker = system.instance.children["worker"]
    yield
    assert call("stay_well", {}, timeout=60) == "well"
    assert system.instance.children["worker"] == worker


def _fault(call: Call, name: str, **event: Any) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        call(name, event, timeout=120)
    return caught.value


def _pids(system: System, name: str) -> list[int]:
    """Process ids that a function has printed."""
    lines = re.findall(r"^PIDS (.*)$", logged(system, name), re.MULTILINE)
    return [int(each) for line in lines for each in line.split()]


def _kill(pids: list[int]) -> None:
    """Leave nothing behind, also where the test fails."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _all_gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_a_handler_that_never_returns_ends_at_its_timeout(system: System, call: Call) -> None:
    """The fault is worded as AWS does, in the answer and in the log."""
    for _ in range(3):  # without a processor for its second, it ends before it says a word
        fault = _fault(call, "never_return")
        if "begun\n" in logged(system, "never_return"):
            break

    assert fault.type == "Sandbox.Timedout"
    assert re.fullmatch(
        r"RequestId: [0-9a-f-]{36} Error: Task timed out after 1.00 seconds", fault.message
    )
    found = logged(system, "never_return")
    assert "begun\n" in found
    assert re.search(r"^\S+Z [0-9a-f-]{36} Task timed out after 1.00 seconds$", found, re.MULTILINE)
    assert re.search(r"^REPORT .*\tStatus: timeout\t$", found, re.MULTILINE)


def test_a_handler_that_ignores_signals_ends_at_its_timeout(call: Call) -> None:
    """The end does not ask."""
    assert _fault(call, "sleep_deaf").type == "Sandbox.Timedout"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("leave_children", 3),
        ("leave_orphans", 1),
        ("multiply", 16),
    ],
)
def test_a_timeout_ends_the_whole_tree(system: System, call: Call, name: str, count: int) -> None:
    """Children, those in sessions of their own, orphans, and a small fork bomb: none is left."""
    pids: list[int] = []
    for _ in range(3):  # on a busy machine time may be up before any has told
        assert _fault(call, name).type == "Sandbox.Timedout"
        if pids := _pids(system, name):
            break
    assert 0 < len(pids) <= count  # or before all have
    try:
        wait_until(lambda: _all_gone(pids), f"all that {name} started is gone", 10)
    finally:
        _kill(pids)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os._exit", "exit status 3"),
        ("sys.exit", "exit status 4"),
        ("segfault", "signal: segmentation fault"),
        ("abort", "signal: aborted"),
        ("kill itself", "signal: killed"),
    ],
)
def test_a_handler_that_ends_its_process_fails_alone(call: Call, how: str, told: str) -> None:
    """The fault says how the process ended."""
    fault = _fault(call, "die", how=how)

    assert fault.type == "Runtime.ExitError"
    assert fault.message.endswith(f"Error: Runtime exited with error: {told}")


def test_a_handler_that_prints_200_mb_is_read_in_bounded_memory(system: System, call: Call) -> None:
    """It gets its answer; the log keeps the beginning, and says how much it has left out."""
    assert call("chatter", {}, timeout=120) == "told"

    assert re.search(
        r"\[[0-9,]+ more bytes were printed, and not kept\]", logged(system, "chatter")
    )
    worker = psutil.Process(system.instance.children["worker"])
    assert worker.memory_info().rss < 400 * MB


@pytest.mark.parametrize("kind", ["object", "set", "key"])
def test_a_response_that_is_no_json_is_a_fault(call: Call, kind: str) -> None:
    """Lambda's name for it, and what could not be written."""
    fault = _fault(call, "return_anything", kind=kind)

    assert fault.type == "Runtime.MarshalError"
    assert fault.message.startswith("Unable to marshal response: ")


@pytest.mark.parametrize("kind", ["bytes", "lone"])
def test_a_response_that_only_the_runtime_takes_for_json_is_a_fault(call: Call, kind: str) -> None:
    """Bytes are sent as they are, half a surrogate pair is text in no encoding: nothing to give."""
    assert _fault(call, "return_anything", kind=kind).type == "Runtime.InvalidResponse"


def test_a_response_may_have_6_mb(call: Call) -> None:
    """Lambda's quota, to the byte."""
    assert len(call("return_much", {"size": 6 * MB - 2})) == 6 * MB - 2


def test_a_response_over_6_mb_is_a_fault(call: Call) -> None:
    """It is refused in AWS's words, and its environment goes on."""
    fault = _fault(call, "return_much", size=6 * MB + 200)

    assert fault.type == "Function.ResponseSizeTooLarge"
    assert "exceeded maximum allowed payload size" in fault.message
    assert _fault(call, "return_much", size=30 * MB).type == "Function.ResponseSizeTooLarge"
    assert call("return_much", {"size": 2}) == "xx"


@pytest.mark.parametrize("name", ["hoard", "hoard_in_children"])
def test_a_handler_over_its_memory_is_ended(call: Call, name: str) -> None:
    """The whole process tree counts."""
    fault = _fault(call, name)

    assert fault.type == "Runtime.OutOfMemory"
    assert fault.message.endswith("Error: Runtime exited with error: signal: killed")


def test_memory_that_forks_share_counts_once(call: Call) -> None:
    """Forked processes share what they do not change: that is no memory of their own."""
    assert call("share", {}) == "shared"


def test_endless_recursion_is_an_error(call: Call) -> None:
    """Python's own limit ends it; the long trace does no harm."""
    assert _fault(call, "recurse").type == "RecursionError"


def test_a_long_error_message_is_told(call: Call) -> None:
    """A megabyte of it comes whole."""
    fault = _fault(call, "complain", size=MB)

    assert (fault.type, fault.message) == ("ValueError", "x" * MB)


def test_an_error_report_over_6_mb_is_a_fault(call: Call) -> None:
    """What is too large to be kept says so."""
    fault = _fault(call, "complain", size=20 * MB)

    assert fault.type == "Function.ResponseSizeTooLarge"
    assert "exceeded maximum allowed payload size" in fault.message


def test_a_handler_may_close_its_output(system: System, call: Call) -> None:
    """Its answer does not depend on its log."""
    assert call("close_output", {}) == "still here"
    assert "before" in logged(system, "close_output")


def test_a_handler_that_closes_every_descriptor_does_not_hang(call: Call) -> None:
    """The runtime may connect anew and answer, or end: the caller hears of either."""
    try:
        assert call("close_everything", {}, timeout=30) == "gone"
    except FunctionError as error:
        assert error.type in ("Runtime.ExitError", "Sandbox.Timedout")


def test_a_handler_that_kills_its_parent_is_survived(call: Call, system: System) -> None:
    """It may not; where users cannot be kept apart, the process that forks is started anew."""
    expected = "PermissionError" if os.geteuid() == 0 else "Runtime.ExitError"
    assert _fault(call, "kill_parent").type == expected

    assert call("count_runs", {}, timeout=60)[1] == 1


def test_a_warm_environment_keeps_what_was_imported(call: Call) -> None:
    """Import happens once: module state lasts from one invocation to the next."""
    first_pid, first = call("count_runs", {})
    pid, count = call("count_runs", {})

    assert (pid, count) == (first_pid, first + 1)


def test_each_environment_has_a_folder_for_temporary_files(call: Call) -> None:
    """`tempfile`, TMPDIR and the home folder agree on it."""
    found = call("use_tmp", {})

    assert len(set(found)) == 1


def test_a_failing_thread_does_not_fail_the_handler(system: System, call: Call) -> None:
    """As in any Python program, its trace is in the log."""
    assert call("thread_fails", {}) == "answered"
    assert "RuntimeError: in a thread" in logged(system, "thread_fails")


def test_an_interrupt_raised_by_a_handler_ends_its_environment_only(call: Call) -> None:
    """What is no `Exception` ends the process, which is a fault as any other end."""
    assert _fault(call, "raise_base").type in ("KeyboardInterrupt", "Runtime.ExitError")


def test_a_failed_upload_is_retried_then_kept(system: System, deploy: Deploy, bucket: str) -> None:
    """A timeout counts as a failure: twice tried again, then a dead letter."""
    deploy(f"""
        @function(bucket="{bucket}", timeout=1)
        def time_out_always(event, context):
            while True:
                pass
    """)
    system.s3().put_object(Bucket=bucket, Key="a", Body=b"x")

    row = wait_for(system, "time_out_always", failed=3, dead=1, retrying=0, queued=0)
    assert "Task timed out after 1.00 seconds" in row["last_error"]
