"""Calling functions: by command, from Python, by a plain Celery client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from bucketwheel import FunctionError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Call, Deploy, deployed, logged, wait_for

CODE = """
    import os

    @function(timeout=30)
    def greet(event, context):
        print("a line for the log")
        return {"hello": event["name"]}

    @function(timeout=30)
    def echo(event, context):
        return event

    @function(timeout=30)
    def size_of(event, context):
        return len(event["text"])

    @function(timeout=30)
    def refuse(event, context):
        raise LookupError(f"no {event['what']} here")

    @function(memory=256, timeout=30)
    def look(event, context):
        names = ("function_name", "function_version", "memory_limit_in_mb", "aws_request_id",
                 "invoked_function_arn", "log_group_name", "log_stream_name")
        found = {name: getattr(context, name) for name in names}
        return {**found, "left": context.get_remaining_time_in_millis(), "TZ": os.environ["TZ"]}

    @function(timeout=30)
    def say_nan(event, context):
        return {"nan": float("nan")}

    @function(timeout=30)
    def say_unicode(event, context):
        return "\\u00fc\\u2028\\U0001f600"
"""

#: What a user's own program does.
PROGRAM = """
import bucketwheel
print(bucketwheel.invoke("greet", {"name": "program"}))
try:
    bucketwheel.invoke("refuse", {"what": "bread"})
except bucketwheel.FunctionError as error:
    print(error.type, "|", error.message, "|", bool(error.trace))
print(len(bucketwheel.invoke("greet", {"name": "later"}, wait=False)))
"""


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    deployed(system, tmp_path_factory.mktemp("code"), CODE)


def test_a_call_prints_the_response_alone(system: System) -> None:
    """Scripts read standard output: nothing but the response's JSON may be there."""
    done = system.tried("invoke", "greet", "--payload", '{"name": "wheel"}')

    assert (done.returncode, done.stdout) == (0, '{"hello": "wheel"}\n')


def test_an_event_comes_from_a_file(system: System, tmp_path: Path) -> None:
    """`--payload @FILE` sends the file's content."""
    (tmp_path / "event.json").write_text('{"name": "Grüße"}', encoding="utf-8")

    done = system.tried("invoke", "greet", "--payload", f"@{tmp_path}/event.json")

    assert json.loads(done.stdout) == {"hello": "Grüße"}


def test_an_event_comes_from_standard_input(system: System) -> None:
    """`--payload -` sends standard input."""
    done = system.tried("invoke", "greet", "--payload", "-", input='{"name": "pipe"}')

    assert json.loads(done.stdout) == {"hello": "pipe"}


def test_a_call_without_payload_sends_an_empty_object(system: System) -> None:
    """Where no event is given, the handler gets `{}`, as from AWS's own tools."""
    assert system.run("invoke", "echo") == "{}\n"


def test_an_asynchronous_call_prints_the_id_and_runs(system: System) -> None:
    """`--async` does not wait: it prints an id, which the function then logs."""
    id = system.run("invoke", "greet", "--async", "--payload", '{"name": "later"}').strip()

    wait_until(lambda: f"END RequestId: {id}" in logged(system, "greet"), "it has run")


def test_an_error_goes_to_standard_error_with_its_trace(system: System) -> None:
    """`Type: message`, then the trace; nothing on standard output; exit status 1."""
    done = system.tried("invoke", "refuse", "--payload", '{"what": "bread"}')

    first, *trace = done.stderr.splitlines()
    assert (done.returncode, done.stdout, first) == (1, "", "LookupError: no bread here")
    assert "raise LookupError" in "".join(trace)


BAD_CALLS = {
    "unknown function": (("invoke", "nowhere"), "no function 'nowhere' is deployed"),
    "not JSON": (("invoke", "echo", "--payload", "{oops"), "the payload is not JSON"),
    "not UTF-8": (("invoke", "echo", "--payload", '"\udce9"'), "the payload is not JSON"),
    "empty": (("invoke", "echo", "--payload", ""), "the payload is not JSON"),
    "no such file": (
        ("invoke", "echo", "--payload", "@nowhere.json"),
        "nowhere.json: No such file",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_bad_call_gets_one_sentence(system: System, name: str) -> None:
    """What cannot be called is told on standard error, in one sentence, with exit status 2."""
    arguments, sentence = BAD_CALLS[name]
    done = system.tried(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["sync", "async"])
def test_an_oversized_event_gets_one_sentence(system: System, tmp_path: Path, name: str) -> None:
    """Lambda's quotas: 6 MB for a call that waits, 1 MB for one that does not."""
    most = {"sync": 6 * 1024**2, "async": 1024**2}[name]
    (tmp_path / "event.json").write_text(json.dumps("x" * most))
    flags = ["--async"] if name == "async" else []

    done = system.tried("invoke", "echo", "--payload", f"@{tmp_path}/event.json", *flags)

    assert done.returncode == 2
    assert f"the payload has {most + 2:,} bytes; at most {most:,} are allowed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["sync", "async"])
def test_the_largest_event_allowed_arrives(system: System, call: Call, name: str) -> None:
    """An event of exactly the quota runs."""
    most = {"sync": 6 * 1024**2, "async": 1024**2}[name]
    event = {"text": "x" * (most - len('{"text":""}'))}
    if name == "sync":
        assert call("size_of", event) == len(event["text"])
        return
    id = call("size_of", event, wait=False)
    wait_until(lambda: f"END RequestId: {id}" in logged(system, "size_of"), "it has run")


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, 2**53 + 1, "", "ü\x00\u2028😀", [], [1, [None]], {}, {"a": {}}]
)
def test_a_response_may_be_any_json(call: Call, value: object) -> None:
    """Each type of JSON comes back as it was returned."""
    assert call("echo", value) == value


def test_a_response_in_every_script_is_printed_as_it_is(system: System) -> None:
    """Whether the runtime escapes it or not, it is the same text."""
    assert json.loads(system.run("invoke", "say_unicode")) == "ü\u2028😀"


def test_a_number_that_json_lacks_is_no_failure_of_an_upload(system: System, call: Call) -> None:
    """Python's runtime writes NaN; where nobody reads the response, nothing has failed."""
    call("say_nan", {}, wait=False)

    wait_until(lambda: "END RequestId" in logged(system, "say_nan"), "it has run")
    wait_for(system, "say_nan", 5, succeeded=1, failed=0)


def test_an_event_that_is_not_json_is_refused_before_it_is_sent(call: Call) -> None:
    """A Python object without a form in JSON is the caller's mistake, told as such."""
    with pytest.raises(Exception, match="the event cannot be written as JSON"):
        call("echo", {"when": object()})


def test_the_context_is_lambdas(call: Call) -> None:
    """Handlers read name, version, memory, request id, ARN and time left from the context."""
    found = call("look", {})

    assert found["function_name"] == "look"
    assert found["function_version"] == "1"
    assert int(found["memory_limit_in_mb"]) == 256
    assert len(found["aws_request_id"]) == 36
    assert found["invoked_function_arn"].startswith("arn:aws:lambda:us-east-1:")
    assert found["invoked_function_arn"].endswith(":function:look")
    assert found["log_group_name"] == "/aws/lambda/look"
    assert 0 < found["left"] <= 30_000


def test_a_program_calls_by_the_systems_folder(system: System, tmp_path: Path) -> None:
    """`bucketwheel.invoke` in a user's own process: response, `FunctionError`, or an id."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"BUCKETWHEEL_DATA": str(system.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "{'hello': 'program'}",
        "LookupError | no bread here | True",
        "36",
    ], done.stderr


def test_a_function_error_carries_type_message_and_trace(call: Call) -> None:
    """What the handler raised can be told apart by its type, as AWS's `errorType`."""
    with pytest.raises(FunctionError, match="no milk here") as caught:
        call("refuse", {"what": "milk"})

    assert (caught.value.type, caught.value.message) == ("LookupError", "no milk here")
    assert any("refuse" in line for line in caught.value.trace)


def test_a_call_that_waits_is_not_tried_again(system: System, deploy: Deploy, call: Call) -> None:
    """Whoever waits is told of the failure at once, and decides himself."""
    deploy("""
        @function
        def fail_once_told(event, context):
            raise ValueError("no")
    """)
    with pytest.raises(FunctionError):
        call("fail_once_told", {})

    wait_for(system, "fail_once_told", failed=1, retrying=0, dead=0, queued=0)


def test_a_call_waits_no_longer_than_asked(system: System, deploy: Deploy) -> None:
    """`--timeout` ends the wait, not the function, and says where to look."""
    deploy("""
        import time

        @function(timeout=60)
        def slow(event, context):
            time.sleep(event["seconds"])
    """)
    done = system.tried("invoke", "slow", "--payload", '{"seconds": 3}', "--timeout", "0.5")

    assert done.returncode == 2
    assert "slow gave no response within 0.5 s" in done.stderr
    wait_for(system, "slow", succeeded=1)


def test_a_plain_celery_client_runs_a_function(system: System, deploy: Deploy) -> None:
    """Each function is a Celery task by its own name, in a queue of its own."""
    deploy("""
        @function(timeout=30)
        def plain(event, context):
            print("plain got", event)
    """)
    client = Celery(broker=system.instance.redis_url, set_as_current=False)
    client.send_task("plain", args=[{"n": 1}], queue="function.plain")
    client.send_task("plain", kwargs={"n": 2}, queue="function.plain")
    client.send_task("plain", queue="function.plain")
    client.close()

    wait_for(system, "plain", succeeded=3)
    found = logged(system, "plain")
    assert all(f"plain got {each}" in found for each in ("{'n': 1}", "{'n': 2}", "{}"))


def test_calls_run_beside_each_other(system: System, call: Call, deploy: Deploy) -> None:
    """Environments are started for what waits: calls that meet each other all come back."""
    deploy("""
        import os

        @function(timeout=30)
        def meet(event, context):
            return os.getpid()
    """)
    ids = [call("meet", {}, wait=False) for _ in range(40)]

    wait_for(system, "meet", succeeded=40)
    found: Any = logged(system, "meet")
    assert all(found.count(f"END RequestId: {id}") == 1 for id in ids)
