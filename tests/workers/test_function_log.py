"""What functions print: every line, in bounded memory; and Lambda's own lines around it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import FunctionConfiguration
from workers.function_log import (
    KEPT,
    LINE,
    LogPipe,
    closing_lines,
    start_line,
    timeout_line,
)

INVOCATION = Invocation("6f1c", "crop", b"{}", attempt=1)
CONFIGURATION = FunctionConfiguration.model_validate(
    {
        "name": "crop",
        "version": 7,
        "handler": "photos.crop",
        "memory": 256,
        "code_sha256": "0" * 64,
        "deployed_at": "2026-01-01T00:00:00Z",
    }
)

Work = Callable[[LogPipe], Coroutine[Any, Any, None]]


@contextmanager
def _piped() -> Iterator[LogPipe]:
    pipe = LogPipe(asyncio.get_running_loop())
    try:
        yield pipe
    finally:
        pipe.close()


def _run(work: Work) -> None:
    """Do something with a pipe on a loop."""

    async def run() -> None:
        with _piped() as pipe:
            await work(pipe)

    asyncio.run(run())


def _printed(data: bytes) -> tuple[str, ...]:
    """The lines of what one write has put into the pipe."""
    taken: list[tuple[str, ...]] = []

    async def work(pipe: LogPipe) -> None:
        os.write(pipe.write_end, data)
        taken.append(pipe.take())

    _run(work)
    return taken[0]


async def _print_from_a_process(pipe: LogPipe, program: str) -> int:
    """Run a program whose output is the pipe; returns its exit status."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=pipe.write_end)
    return await asyncio.get_running_loop().run_in_executor(None, process.wait)


# -- what is printed -------------------------------------------------------------------------------


def test_what_is_printed_is_taken_once() -> None:
    """The next invocation's log begins with its own lines."""

    async def work(pipe: LogPipe) -> None:
        os.write(pipe.write_end, b"one\ntwo\n")
        assert pipe.take() == ("one", "two")
        assert pipe.take() == ()
        os.write(pipe.write_end, b"three")
        assert pipe.take() == ("three",)

    _run(work)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"no end", ("no end",)),
        (b"\n", ("",)),
        (b"a\n\nb\n\n\n", ("a", "", "b")),
        (b"a\r\nb\r\n", ("a", "b")),
        (b"10 %\r20 %\r", ("10 %", "20 %")),
        ("é\u2028x\n".encode(), ("é\u2028x",)),
        (b"\xff\xfea\x00\n", ("\ufffd\ufffda\x00",)),
    ],
)
def test_lines_end_where_a_terminal_ends_them(data: bytes, lines: tuple[str, ...]) -> None:
    """Progress bars return to the line's start; other systems end a line with both characters."""
    assert _printed(data) == lines


@settings(deadline=None)
@given(data=st.binary(max_size=4_096))
def test_anything_may_be_printed(data: bytes) -> None:
    """A function is not asked for UTF-8; every line that is text comes out."""
    lines = _printed(data)

    assert all("\n" not in line and "\r" not in line for line in lines)
    if data.isascii():
        assert re.sub(r"\r\n?", "\n", data.decode()).rstrip("\n") == "\n".join(lines)


def test_a_line_that_no_reader_wants_is_cut() -> None:
    """The next line is whole again."""
    first, second = _printed(b"a" * (LINE + 1_000) + b"\nb\n")

    assert (len(first), second) == (LINE, "b")


def test_a_flood_is_read_but_not_kept() -> None:
    """The function is not held up, our memory is bounded, and the log says what is missing."""

    async def work(pipe: LogPipe) -> None:
        program = (
            "import sys; sys.stdout.write('x' * 99 + '\\n'); sys.stdout.write('y' * 3_000_000)"
        )
        assert await _print_from_a_process(pipe, program) == 0

        *kept, last = pipe.take()

        assert kept[0] == "x" * 99
        assert sum(map(len, kept)) <= KEPT
        assert last == f"[{3_000_100 - KEPT:,} more bytes were printed, and not kept]"
        os.write(pipe.write_end, b"after the flood\n")
        assert pipe.take() == ("after the flood",)

    _run(work)


def test_a_word_of_the_platform_comes_after_what_was_printed_before_it() -> None:
    """On a line of its own."""

    async def work(pipe: LogPipe) -> None:
        pipe.note("first")
        os.write(pipe.write_end, b"before\nunfinished")
        pipe.note("Task timed out")
        os.write(pipe.write_end, b"after\n")
        assert pipe.take() == ("first", "before", "unfinished", "Task timed out", "after")

    _run(work)


def test_a_word_of_the_platform_has_room_where_the_function_has_used_up_its_own() -> None:
    """And what the function goes on to print is counted as before."""

    async def work(pipe: LogPipe) -> None:
        assert await _print_from_a_process(pipe, f"print('x' * {KEPT})") == 0
        pipe.note("Task timed out")
        os.write(pipe.write_end, b"y" * 1_000)
        assert pipe.take()[-2:] == (
            "Task timed out",
            "[1,001 more bytes were printed, and not kept]",
        )

    _run(work)


def test_the_pipe_is_open_in_no_program_but_the_one_it_is_given_to() -> None:
    """Another process that held it could print into this log, or keep it from ending."""

    async def work(pipe: LogPipe) -> None:
        assert not os.get_inheritable(pipe.write_end)

    _run(work)


def test_what_was_printed_is_there_after_the_writer_has_gone() -> None:
    """Its last words say why."""

    async def work(pipe: LogPipe) -> None:
        os.write(pipe.write_end, b"last words\n")
        pipe.close_write_end()
        pipe.close_write_end()
        assert pipe.take() == ("last words",)
        assert pipe.take() == ()

    _run(work)


def test_closing_twice_is_safe_and_a_writer_that_lives_on_is_told() -> None:
    """Nothing is read from a descriptor that may be another's by then."""

    async def work(pipe: LogPipe) -> None:
        writer = os.dup(pipe.write_end)
        pipe.close()
        pipe.close()
        assert pipe.take() == ()
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"nobody reads this\n")
        os.close(writer)

    _run(work)


# -- Lambda's lines --------------------------------------------------------------------------------


def test_the_first_line_is_lambdas() -> None:
    """Log readers look for it."""
    assert start_line(INVOCATION, CONFIGURATION) == "START RequestId: 6f1c Version: 7"


def _outcome(fault: FunctionFault | None = None, init_ms: float | None = None) -> Outcome:
    return Outcome(INVOCATION, None, fault, 12.3456, 61, init_ms)


def test_the_last_lines_are_lambdas() -> None:
    """Tab separated, with a tab at the end; initialisation is told on a cold start only."""
    assert closing_lines(_outcome(init_ms=130.5), CONFIGURATION) == (
        "END RequestId: 6f1c",
        "REPORT RequestId: 6f1c\tDuration: 12.35 ms\tBilled Duration: 13 ms\tMemory Size: 256 MB"
        "\tMax Memory Used: 61 MB\tInit Duration: 130.50 ms\t",
    )
    assert "Init" not in closing_lines(_outcome(), CONFIGURATION)[1]


@pytest.mark.parametrize(
    ("type", "status"),
    [
        ("Sandbox.Timedout", "\tStatus: timeout\t"),
        ("Runtime.ExitError", "\tStatus: error\tError Type: Runtime.ExitError\t"),
        ("ValueError", "\tStatus: error\tError Type: ValueError\t"),
    ],
)
def test_the_report_says_how_it_failed(type: str, status: str) -> None:
    """As Lambda's does."""
    told = _outcome(FunctionFault(type, "message"))

    assert closing_lines(told, CONFIGURATION)[1].endswith(status)


def test_a_timeout_is_told_in_lambdas_words() -> None:
    """With its moment, in UTC."""
    told = timeout_line(INVOCATION, 3)

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 6f1c Task timed out after 3\.00 seconds", told
    )
