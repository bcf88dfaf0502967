"""The log of a child: bounded, private, and readable at its end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bucketwheel.child_log import ChildLog


@pytest.fixture
def log(tmp_path: Path) -> ChildLog:
    """A log that may have a hundred bytes."""
    return ChildLog(tmp_path, "worker", bound=100)


def _write(log: ChildLog, content: bytes) -> None:
    descriptor = log.open()
    os.write(descriptor, content)
    os.close(descriptor)


def test_what_is_written_is_appended(log: ChildLog) -> None:
    """A child that is restarted goes on in the same file."""
    _write(log, b"one\n")
    _write(log, b"two\n")

    assert log.path.read_bytes() == b"one\ntwo\n"


def test_a_new_run_begins_a_new_file_and_the_last_is_kept(log: ChildLog, tmp_path: Path) -> None:
    """One older, and no more."""
    for run in (b"first", b"second", b"third"):
        log.begin()
        _write(log, run)

    assert log.path.read_bytes() == b"third"
    assert (tmp_path / "worker.log.1").read_bytes() == b"second"
    assert len(os.listdir(tmp_path)) == 2


def test_a_log_that_is_too_large_is_moved_aside_while_the_child_writes(
    log: ChildLog, tmp_path: Path
) -> None:
    """The child's descriptor stays good; the end of what it wrote is kept."""
    descriptor = log.open()
    os.write(descriptor, b"x" * 50 + b"y" * 100)
    log.bound()
    os.write(descriptor, b"after")
    os.close(descriptor)

    assert log.path.read_bytes() == b"after"
    assert (tmp_path / "worker.log.1").read_bytes() == b"y" * 100


def test_a_log_within_its_bound_is_left_alone(log: ChildLog, tmp_path: Path) -> None:
    """As is one that is not there."""
    log.bound()
    _write(log, b"x" * 100)
    log.bound()

    assert os.listdir(tmp_path) == ["worker.log"]


def test_only_the_owner_can_read_what_children_say(log: ChildLog, tmp_path: Path) -> None:
    """Secrets may be among it: also in the older file, however it came to be."""
    before = os.umask(0)
    try:
        _write(log, b"x" * 101)
        log.bound()
        modes = {name: (tmp_path / name).stat().st_mode for name in os.listdir(tmp_path)}
    finally:
        os.umask(before)

    assert {name: stat.S_IMODE(mode) for name, mode in modes.items()} == {
        "worker.log": 0o600,
        "worker.log.1": 0o600,
    }


def test_the_descriptor_is_not_for_others(log: ChildLog) -> None:
    """A program that another child starts must not hold it."""
    descriptor = log.open()

    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_the_tail_is_the_last_lines_that_say_something(log: ChildLog) -> None:
    """What a person is shown when a child has ended."""
    _write(log, b"first\n\n  \nsecond  \r\nthird\n" + b"z" * 600 + b"\n\xff\n\n")

    assert log.tail(3) == ["third", "z" * 500, "\ufffd"]
    assert log.tail(100)[0] == "first"


def test_of_a_huge_log_only_the_end_is_read(log: ChildLog) -> None:
    """It may be ten megabytes in one line."""
    _write(log, b"x" * 1_000_000 + b"\nlast\n")

    assert log.tail()[-1] == "last"
    assert sum(map(len, log.tail())) < 1_000


def test_a_log_that_is_not_there_has_no_tail(log: ChildLog) -> None:
    """The child may have ended before it was opened."""
    assert log.tail() == []
