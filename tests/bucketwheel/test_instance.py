"""The instance: one system on a folder, found by whoever looks for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from bucketwheel import instance
from bucketwheel.errors import InstanceError
from bucketwheel.instance import Instance
from tests.conftest import wait_until

RUNNING = Instance(
    pid=os.getpid(),
    s3_endpoint="http://127.0.0.1:9000",
    s3_access_key="root",
    s3_secret_key="hush-hush",
    s3_region="us-east-1",
    redis_url="redis://:hush@127.0.0.1:6390/0",
    user_access_key="bucketwheel-user",
    user_secret_key="hush",
)


@contextmanager
def _another(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the folder."""
    program = (
        "import sys, time; from pathlib import Path; from bucketwheel import instance\n"
        "with instance.holding(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


# -- holding ---------------------------------------------------------------------------------------


def test_who_holds_a_folder_is_known_while_he_does(tmp_path: Path) -> None:
    """And no longer."""
    assert (instance.is_running(tmp_path), instance.holder(tmp_path)) == (False, None)
    with instance.holding(tmp_path):
        assert (instance.is_running(tmp_path), instance.holder(tmp_path)) == (True, os.getpid())

    assert (instance.is_running(tmp_path), instance.holder(tmp_path)) == (False, None)


def test_a_second_system_on_a_folder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    """The first is not disturbed by the attempt."""
    with _another(tmp_path) as first:
        told = rf"already runs on {tmp_path} \(process {first.pid}\): `bucketwheel down` stops it"
        with pytest.raises(InstanceError, match=told), instance.holding(tmp_path):
            pytest.fail("it was not held")

        assert instance.holder(tmp_path) == first.pid


def test_a_folder_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    """What he left in the file means nothing."""
    with _another(tmp_path) as first:
        first.kill()
        wait_until(lambda: not instance.is_running(tmp_path), "the folder is free")

    with instance.holding(tmp_path):
        assert instance.holder(tmp_path) == os.getpid()


def test_looking_does_not_keep_a_system_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes the lock for an instant; who starts waits for it to pass."""
    lock = instance._lock  # an instant may be long, where the looking process has no processor
    monkeypatch.setattr(instance, "_lock", lambda file, patience: lock(file, 60.0))
    looking = "import sys; from pathlib import Path; from bucketwheel import instance\n"
    looking += "print(flush=True)\nwhile True: instance.is_running(Path(sys.argv[1]))"
    (tmp_path / "up.lock").touch()
    with subprocess.Popen(
        [sys.executable, "-c", looking, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        try:
            for _ in range(20):
                with instance.holding(tmp_path):
                    pass
        finally:
            process.kill()


# -- describing ------------------------------------------------------------------------------------


def test_a_running_system_is_found_as_it_was_described(tmp_path: Path) -> None:
    """By anybody who may read the file: its owner alone."""
    with instance.holding(tmp_path):
        RUNNING.write(tmp_path)

        assert Instance.read(tmp_path) == RUNNING
        assert stat.S_IMODE((tmp_path / "instance.json").stat().st_mode) == 0o600


def test_a_description_without_a_system_is_none(tmp_path: Path) -> None:
    """It was killed, and could not take it back."""
    RUNNING.write(tmp_path)

    with pytest.raises(InstanceError, match=f"no system runs on {tmp_path}: start one with"):
        Instance.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", None])
def test_a_system_that_is_not_described_yet_is_none(tmp_path: Path, content: bytes | None) -> None:
    """It holds the folder first, and describes itself later."""
    if content is not None:
        (tmp_path / "instance.json").write_bytes(content)

    with instance.holding(tmp_path), pytest.raises(InstanceError, match="no system runs on"):
        Instance.read(tmp_path)


def test_a_folder_that_is_not_there_holds_no_system(tmp_path: Path) -> None:
    """Nor does a file."""
    (tmp_path / "file").touch()
    for data in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(InstanceError, match="no system runs on"):
            Instance.read(data)
        assert (instance.is_running(data), instance.holder(data)) == (False, None)


def test_a_system_that_ends_takes_its_description_back(tmp_path: Path) -> None:
    """Twice is safe."""
    RUNNING.write(tmp_path)

    instance.remove(tmp_path)
    instance.remove(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_description_cannot_be_changed() -> None:
    """Whoever has one may pass it on."""
    with pytest.raises(ValidationError, match="frozen"):
        RUNNING.ready = True


# -- finding ---------------------------------------------------------------------------------------


def test_the_folder_is_the_one_that_is_set_or_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty setting is none."""
    monkeypatch.chdir(tmp_path)
    for value, meant in (("", ".bucketwheel"), ("data", "data"), ("/elsewhere", "/elsewhere")):
        monkeypatch.setenv("BUCKETWHEEL_DATA", value)
        assert instance.data_folder() == tmp_path / meant
    monkeypatch.delenv("BUCKETWHEEL_DATA")

    assert instance.data_folder() == tmp_path / ".bucketwheel"


def test_settings_that_are_missing_are_taken_from_the_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are set stay."""
    monkeypatch.setenv("BUCKETWHEEL_DATA", str(tmp_path))
    monkeypatch.setenv("BUCKETWHEEL_S3_ENDPOINT", "http://elsewhere")
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "REDIS_URL"):
        monkeypatch.setenv(f"BUCKETWHEEL_{name}", "")  # so that the patch takes back what is set
        monkeypatch.delenv(f"BUCKETWHEEL_{name}")
    with instance.holding(tmp_path):
        RUNNING.write(tmp_path)
        instance.fill_environment()

    assert os.environ["BUCKETWHEEL_S3_ENDPOINT"] == "http://elsewhere"
    assert os.environ["BUCKETWHEEL_S3_SECRET_KEY"] == "hush-hush"
    assert os.environ["BUCKETWHEEL_REDIS_URL"] == RUNNING.redis_url


def test_with_all_settings_no_instance_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on another host has no folder."""
    monkeypatch.setenv("BUCKETWHEEL_DATA", str(tmp_path / "nowhere"))
    for name in ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_URL"):
        with pytest.raises(InstanceError, match="no system runs on"):
            instance.fill_environment()
        monkeypatch.setenv(f"BUCKETWHEEL_{name}", "set")

    instance.fill_environment()
