"""Faults under load, in short; `make chaos` is the long form."""

from __future__ import annotations

import io
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from minio import Minio

from bucketwheel.testing import System
from chaos import trial
from chaos.faults import full_disk, kinds
from chaos.run import SHORTEST
from chaos.runs import MODULE, Run, Runs, listening
from chaos.trial import Trial
from tests.conftest import absent, wait_until
from tests.system.conftest import begun

#: Seconds of faults, and what is left out: it takes as long as all the others.
SECONDS = 40.0
LONG = "Redis away for 30 s"


def _first(runs: Runs, key: str) -> Run | None:
    return next(iter(runs.of(key)), None)


def _upload(system: System, key: str) -> None:
    found = system.instance
    host, keys = urlsplit(found.s3_endpoint).netloc, (found.s3_access_key, found.s3_secret_key)
    Minio(host, *keys, secure=False, region="us-east-1").put_object("chaos", key, io.BytesIO(), 0)


def test_nothing_is_lost_and_nothing_runs_twice_at_once() -> None:
    """Whatever happens to intakes, workers, zygotes, environments, Redis and MinIO, by a seed."""
    chosen = [each for each in kinds() if each.name != LONG]
    found = trial.run(Trial(chosen, SECONDS, seed=5), lambda line: None).account

    assert found.answered > 500
    assert not found.lost
    assert not found.overlapped
    assert not found.unexplained


def test_a_full_disk_under_the_stores_queue_loses_nothing() -> None:
    """While Redis is away events wait there until it is full; the sweep finds the others."""
    if os.geteuid() != 0:
        absent("only root can mount a small disk: run the tests as root")
    tried = Trial([full_disk()], SHORTEST + 3, seed=5, has_small_disk=True)
    result = trial.run(tried, lambda line: None)

    assert result.swept > 0
    assert result.account.is_good


def test_what_a_frozen_worker_runs_ends_before_others_run_it(tmp_path: Path) -> None:
    """Its environments do not stand still with it, and its lease lapses."""
    with listening() as runs, begun(tmp_path / "data", BUCKETWHEEL_RETRY_DELAY="0.1") as system:
        module = tmp_path / "note.py"
        module.write_text(MODULE)
        system.run("deploy", str(module), "--env", f"RUNS={runs.port}")
        _upload(system, "12/frozen")
        wait_until(lambda: _first(runs, "12/frozen"), "it runs")
        worker = psutil.Process(system.instance.children["worker"])
        worker.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: runs.of("12/frozen")[0].cut, "its environment has ended")
        finally:
            worker.send_signal(signal.SIGCONT)
        wait_until(lambda: any(each.ended for each in runs.of("12/frozen")), "it has run")

    first, *others = runs.of("12/frozen")
    assert first.ended is None
    assert len(others) == 1
    assert not first.overlaps(others[0])


def _begun_in(folder: Path) -> set[int]:
    """Process ids of all whose data lie there; what has ended meanwhile aside."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("BUCKETWHEEL_DATA", "").startswith(str(folder)):
                found.add(process.pid)
    return found


def test_an_interrupted_run_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while processes are stopped: everything that was started has ended, these too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where trials have their folders
    told: list[str] = []
    begun: set[int] = set()

    def interrupt(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            begun.update(_begun_in(tmp_path))
            raise KeyboardInterrupt

    stopping = [each for each in kinds() if "stopped" in each.name]
    with pytest.raises(KeyboardInterrupt):
        trial.run(Trial(stopping, 10.0, seed=1), interrupt)
    assert len(begun) > 5
    assert not _begun_in(tmp_path)
