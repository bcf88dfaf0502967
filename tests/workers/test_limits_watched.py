"""Limits that the watchdog looks at, on real folders and processes; and control groups' files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from workers import cgroup
from workers.limits import Watch
from workers.process import kill_tree

_MB = 1024 * 1024


def test_a_folder_over_its_size_is_told(tmp_path: Path) -> None:
    """Files anywhere below it count, by what they take on the disk."""
    watch = Watch(str(tmp_path), 2)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "one").write_bytes(os.urandom(_MB))
    assert watch.exceeded(os.getpid()) is None
    (below / "two").write_bytes(os.urandom(2 * _MB))
    assert watch.exceeded(os.getpid()) == "tmp"


def test_many_files_are_counted_in_several_looks(tmp_path: Path) -> None:
    """No look takes long, and all together find what is there."""
    for at in range(2_000):
        (tmp_path / str(at)).write_bytes(b"x")
    watch = Watch(str(tmp_path), 4)
    looks = [watch.exceeded(os.getpid()) for _ in range(6)]
    assert looks[0] is None
    assert "tmp" in looks


def test_links_are_not_followed(tmp_path: Path) -> None:
    """What lies elsewhere is not its own."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(os.urandom(2 * _MB))
    own = tmp_path / "own"
    own.mkdir()
    (own / "link").symlink_to(elsewhere)
    assert Watch(str(own), 1).exceeded(os.getpid()) is None


def test_a_folder_that_has_gone_is_empty(tmp_path: Path) -> None:
    """It is removed while it is looked at."""
    assert Watch(str(tmp_path / "gone"), 1).exceeded(os.getpid()) is None


def test_a_tree_of_too_many_processes_is_told() -> None:
    """Children and theirs count; below the limit nothing is said."""
    command = ["sh", "-c", "sleep 600 & sh -c 'sleep 600 & echo begun; wait' & wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert Watch(processes=4).exceeded(process.pid) is None
        assert Watch(processes=3).exceeded(process.pid) == "processes"
        assert Watch().exceeded(process.pid) is None
        kill_tree(process.pid, "")


def test_without_a_delegated_group_there_are_none(tmp_path: Path) -> None:
    """A folder with other controllers, or with nothing in it."""
    assert cgroup.find(tmp_path) is None
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    assert cgroup.find(tmp_path) is None


def test_a_group_gets_its_limits(tmp_path: Path) -> None:
    """As the kernel's files want them, in bytes; what it does not know is left out."""
    group = cgroup.Groups(tmp_path).make("id", 128, 1024)
    path = tmp_path / "bucketwheel-id"
    assert (path / "memory.max").read_text() == str(128 * _MB)
    assert (path / "memory.oom.group").read_text() == "1"
    assert not group.was_out_of_memory()


@given(kills=st.integers(0, 10**9), others=st.integers(0, 10**9))
@settings(max_examples=50)
def test_a_kill_for_memory_is_found_among_the_events(kills: int, others: int) -> None:
    """`oom` alone is no kill, nor is a group's."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"events-{os.getpid()}"
    path.mkdir(exist_ok=True)
    text = f"low 0\nmax {others}\noom {others}\noom_kill {kills}\noom_group_kill {others}\n"
    (path / "memory.events").write_text(text)
    assert cgroup.Group(path).was_out_of_memory() == (kills > 0)
    (path / "memory.events").unlink()
    path.rmdir()
