"""Every language behaves as in Lambda: one suite over all runtimes, each with its own client."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bucketwheel import FunctionError
from bucketwheel.testing import System
from tests.conformance.language import Language
from tests.conftest import wait_until
from tests.system.conftest import Call, logged

_ID = "[0-9a-f-]{36}"


def _fails(call: Call, function: str, event: dict[str, Any]) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        call(function, event)
    return caught.value


def _needs(language: Language, has: bool, what: str) -> None:
    if not has:
        pytest.skip(f"{language.name} has no {what}")


def test_an_event_comes_back(language: Language, call: Call) -> None:
    """Whatever JSON holds, in every language's own types."""
    event: dict[str, Any] = {
        "do": "echo",
        "text": "Grüße \u2028 \U0001f600",
        "list": [1, -2.5, None, True, {}],
    }

    assert call(f"{language.name}-main", event) == event


def test_an_error_has_its_type_message_and_trace(language: Language, call: Call) -> None:
    """As each language's client words them; the environment goes on."""
    error = _fails(call, f"{language.name}-main", {"do": "fail"})

    assert (error.type, error.message) == (language.error, "no bread here")
    assert language.trace in "\n".join(error.trace)


def test_a_timeout_is_told_in_awss_words(language: Language, call: Call, system: System) -> None:
    """To the caller and in the log."""
    error = _fails(call, f"{language.name}-brief", {"do": "sleep", "seconds": 60})

    assert error.type == "Sandbox.Timedout"
    assert re.fullmatch(
        rf"RequestId: {_ID} Error: Task timed out after 1.00 seconds", error.message
    )
    said = rf"Z {_ID} Task timed out after 1.00 seconds"
    wait_until(lambda: re.search(said, logged(system, f"{language.name}-brief")), "it is logged")


def test_an_end_of_the_process_is_told_in_awss_words(language: Language, call: Call) -> None:
    """And the next invocation has a new one."""
    error = _fails(call, f"{language.name}-main", {"do": "exit"})

    assert error.type == "Runtime.ExitError"
    assert error.message.endswith("Error: Runtime exited with error: exit status 3")
    assert call(f"{language.name}-main", {"do": "count"}) == 1


def test_five_megabytes_go_in_and_out(language: Language, call: Call) -> None:
    """Lambda's quota is 6 MB, for either."""
    event: dict[str, Any] = {"do": "echo", "text": "x" * 5_000_000}

    assert call(f"{language.name}-main", event) == event
    assert len(call(f"{language.name}-main", {"do": "large", "size": 5_000_000})) == 5_000_000


def test_a_response_over_the_quota_is_refused(language: Language, call: Call) -> None:
    """In AWS's words; the next is served, though some clients end over it."""
    error = _fails(call, f"{language.name}-main", {"do": "large", "size": 7_000_000})

    assert error.type == "Function.ResponseSizeTooLarge"
    assert "exceeded maximum allowed payload size (6291556 bytes)" in error.message
    assert call(f"{language.name}-main", {"do": "large", "size": 2}) == "xx"


#: What Lambda sets in every environment.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
RESERVED = {
    "_HANDLER", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ",
}  # fmt: skip


def test_the_environment_is_lambdas_and_the_functions_own(language: Language, call: Call) -> None:
    """All that Lambda sets, what the template says, and nothing of the worker's."""
    found = call(f"{language.name}-main", {"do": "environment"})

    assert found.keys() >= RESERVED
    assert found["GREETING"] == "Grüß Gott"
    assert found["AWS_LAMBDA_FUNCTION_NAME"] == f"{language.name}-main"
    assert found.get("AWS_EXECUTION_ENV") == language.execution_environment
    assert [name for name in found if name.startswith(("BUCKETWHEEL", "REDIS", "MINIO"))] == []


def test_what_is_printed_stands_between_start_and_report(
    language: Language, call: Call, system: System
) -> None:
    """Standard output and error both, in the log of the invocation that printed them."""
    call(f"{language.name}-main", {"do": "print"})

    pattern = rf"START RequestId: ({_ID}) Version: \d+\n(?:(?!START).)*?printed(?:(?!START).)*?"
    pattern += r"complained(?:(?!START).)*?END RequestId: \1\nREPORT RequestId: \1\tDuration: "
    function = f"{language.name}-main"
    wait_until(lambda: re.search(pattern, logged(system, function), re.DOTALL), "it is logged")


def test_a_cold_start_is_told_once_and_state_is_kept(
    language: Language, call: Call, system: System
) -> None:
    """The first invocation has an Init Duration, and the others find what it left."""
    function = f"{language.name}-cold"

    assert [call(function, {"do": "count"}) for _ in range(3)] == [1, 2, 3]

    reports = re.compile(r"^REPORT .*$", re.MULTILINE)
    wait_until(lambda: len(reports.findall(logged(system, function))) == 3, "all are logged")
    found = reports.findall(logged(system, function))
    assert ["\tInit Duration: " in each for each in found] == [True, False, False]


def test_the_context_tells_of_the_invocation(
    language: Language, call: Call, system: System
) -> None:
    """Its id, its function and the time that is left, as each language's context has them."""
    _needs(language, language.name != "shell", "context")
    found = call(f"{language.name}-main", {"do": "context"})

    assert found["function"] == f"{language.name}-main"
    assert found["arn"].endswith(f":function:{language.name}-main")
    assert 0 < found["left"] <= 20_000
    start = f"START RequestId: {found['id']}"
    wait_until(lambda: start in logged(system, f"{language.name}-main"), "its id is the log's")


def test_an_upload_is_copied_by_the_languages_own_sdk(language: Language, system: System) -> None:
    """With no endpoint and no credential in the code, and a key that must be decoded."""
    _needs(language, language.has_sdk, "SDK")
    bucket, s3 = f"conformance-{language.name}", system.s3()
    s3.put_object(Bucket=bucket, Key="in/ein Gruß+1.txt", Body="Grüß Gott".encode())

    def copied() -> bool:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])
        return [each["Key"] for each in listed] == ["out/ein Gruß+1.txt"]

    wait_until(copied, "the copy is there")
    body = s3.get_object(Bucket=bucket, Key="out/ein Gruß+1.txt")["Body"].read()
    assert body.decode() == "Grüß Gott"


def test_a_handler_that_is_not_there_is_told(language: Language, call: Call) -> None:
    """By its client, in its words."""
    type, message = language.missing
    _needs(language, bool(type), "handlers")
    error = _fails(call, f"{language.name}-missing", {})

    assert error.type == type
    assert message in error.message


def test_code_that_cannot_begin_is_told(language: Language, call: Call, system: System) -> None:
    """A module that lacks another, a class that cannot be loaded, a program that ends."""
    type, message = language.broken
    error = _fails(call, f"{language.name}-broken", {})

    assert error.type == type
    assert message in error.message


def test_a_response_is_streamed(language: Language, call: Call) -> None:
    """What was written piece by piece is one response."""
    _needs(language, language.streams, "streaming")

    assert call(f"{language.name}-stream", {"size": 1_000}) == list(range(1_000))


def test_a_stream_that_breaks_off_is_an_error(language: Language, call: Call) -> None:
    """Told behind what was written; nobody takes half a response for a whole one."""
    _needs(language, language.streams, "streaming")
    error = _fails(call, f"{language.name}-stream", {"size": 3, "breaks": True})

    assert (error.type, error.message) == ("RangeError", "no more bread")
