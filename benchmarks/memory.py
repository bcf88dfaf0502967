"""Memory: of our own processes while nothing runs, and of each environment that is warm.

Proportional set sizes (PSS, proc(5)): what processes share counts in parts, so that sums are true.
An environment costs what the worker's whole tree has grown by, over the environments: the sandbox,
the snapshot and the worker's own knowledge of it are in. The comparison is as many interpreters,
each started afresh with the same imports.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.plain_celery import CORES, plain_worker
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.starts import calls_of, entered
from benchmarks.system import FUNCTIONS, System, system, undisturbed
from broker.fleets import fleets

ENVIRONMENTS: Final = 20
#: Megabytes of all our own processes.
GOAL: Final = 150.0
#: Part of what a fresh interpreter takes.
GOAL_EACH: Final = 1.0
_SETTLED: Final = 5.0
_STAY: Final = 30.0
_STOP: Final = 3.0
_IMPORTS: Final = {
    "plain": ("Python", ""),
    "large": (
        "Python with boto3, numpy and Pillow",
        "import boto3, numpy, PIL.Image; boto3.client('s3', region_name='us-east-1')",
    ),
}


def measure(data: Path) -> Iterator[Row]:
    """Measure the idle system, then environments without a snapshot and with one."""
    with system(data, BUCKETWHEEL_MEMORY="65536") as running:
        time.sleep(_SETTLED)
        yield _idle(running)
        for name, (kind, imports) in _IMPORTS.items():
            running.deploy(FUNCTIONS / f"stay_{name}.py")
            theirs = _fresh(imports)
            for function, how in ((name, kind), (f"{name}-snapshot", f"{kind}, from a snapshot")):
                yield _each(how, _of_environments(running, function), theirs)


def _idle(running: System) -> Row:
    children = running.instance.children
    ours = {"up": _pss([psutil.Process(running.instance.pid)])}
    ours |= {name: _tree(children[name]) for name in ("intake", "flower")}
    worker = psutil.Process(children["worker"])
    ours |= {"worker": _pss([worker]), "zygote": _pss(worker.children(recursive=True))}
    total = sum(ours.values())
    servers = {name: _tree(children[name]) for name in ("minio", "redis")}
    say(f"beside them: {_told(servers)}")
    plain = _plain(running)
    return Row(
        what="idle, no functions running: memory of our own processes",
        ours=f"{total:.0f} MB: {_told(ours)}",
        comparison=f"{plain:.0f} MB plain Celery, prefork, {CORES} processes; MinIO and Redis,"
        f" beside ours: {_told(servers)}",
        ratio=None,
        goal=f"≤ {GOAL:g} MB",
        reached=total <= GOAL,
    )


def _plain(running: System) -> float:
    with plain_worker(running):
        time.sleep(_SETTLED)
        return _pss(psutil.Process().children(recursive=True))


def _each(kind: str, ours: float, theirs: float) -> Row:
    ratio = ours / theirs
    return Row(
        what=f"memory of a warm environment, {kind}, {ENVIRONMENTS} of them",
        ours=f"{ours:.1f} MB",
        comparison=f"{theirs:.1f} MB python -c, the same imports",
        ratio=ratio,
        goal=f"< {GOAL_EACH:g}",
        reached=ratio < GOAL_EACH,
    )


def _of_environments(running: System, function: str) -> float:
    """Megabytes by which the worker's tree grows for each environment."""
    calls, worker = calls_of(running), running.instance.children["worker"]
    before = _tree(worker)
    with ThreadPoolExecutor(ENVIRONMENTS) as threads:
        stay = {"seconds": _STAY}
        found = [threads.submit(entered, calls, function, stay) for _ in range(ENVIRONMENTS)]
        _wait_for_environments(running, function)
        each = (_tree(worker) - before) / ENVIRONMENTS
        say(f"{function}: {each:.1f} MB for each of {ENVIRONMENTS} environments")
        for one in found:
            one.result()
    return each


def _wait_for_environments(running: System, function: str) -> None:
    end = time.monotonic() + _STAY - _STOP
    while True:
        told = fleets(running.redis).get(function)
        if told is not None and told.busy == ENVIRONMENTS:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{told} after {_STAY - _STOP:g} s, not {ENVIRONMENTS} busy")
        time.sleep(0.2)


def _fresh(imports: str) -> float:
    """Megabytes of each of as many interpreters."""
    code = f"import time; {imports}\nprint(flush=True); time.sleep({_STAY})"
    with _running([sys.executable, "-c", code]) as processes:
        for each in processes:
            assert each.stdout is not None
            each.stdout.readline()
        return _pss(psutil.Process(each.pid) for each in processes) / ENVIRONMENTS


@contextmanager
def _running(command: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = []
    try:
        for _ in range(ENVIRONMENTS):
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        yield processes
    finally:
        with undisturbed():
            for each in processes:
                each.kill()
                each.communicate()


def _tree(pid: int) -> float:
    process = psutil.Process(pid)
    return _pss([process, *process.children(recursive=True)])


def _pss(processes: Iterable[psutil.Process]) -> float:
    """Megabytes; one that has ended meanwhile counts as none."""
    return sum(map(_pss_of, processes))


def _pss_of(process: psutil.Process) -> float:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _told(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in parts.items())
