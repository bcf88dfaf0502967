"""Photos a second, of one kind of photo: the photo_crop example against a bare loop.

Ours: the photos lie in MinIO and their events in Redis, the intake paused; from the intake's going
on until the last invocation has succeeded, its crop stored. The bare loop: as many processes as the
machine has cores, each with a boto3 client, take the same number of photos one after another: GET,
the example's own `crop_image`, PUT; from all being ready to the last PUT answered. Both warm, in
turns, on the same MinIO, in which the same uploads were made; of each, the best round counts.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from benchmarks import uploads
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.system import System, s3, system

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "photo_crop"
PROCESSES: Final = os.cpu_count() or 1
ROUNDS: Final = 3
_BARE: Final = "bare"
_PATIENCE: Final = 120.0
_spawn: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Race:
    """What is raced: a photo, and how many of it."""

    name: str
    photo: bytes
    count: int
    goal: float


def race(data: Path, what: Race) -> Row:
    """Measure both."""
    with system(data) as running:
        running.deploy(EXAMPLE)
        running.s3().create_bucket(Bucket=_BARE)
        keys = [f"in/{number:05}.jpg" for number in range(what.count)]
        _ours(running, keys, what.photo)  # starts all environments
        ours, bare = [], []
        for number in range(ROUNDS):
            ours.append(_ours(running, keys, what.photo))
            bare.append(_bare(running, keys, what.photo))
            say(f"round {number + 1}: {ours[-1]:.1f}/s, bare loop {bare[-1]:.1f}/s")
        _check(running, keys)
    return _row(what, max(ours), max(bare))


def _row(what: Race, ours: float, bare: float) -> Row:
    return Row(
        what=f"photos/s, upload → crop → stored, {what.name}",
        ours=f"{ours:.1f}/s",
        comparison=f"{bare:.1f}/s bare loop of {PROCESSES} processes",
        ratio=ours / bare,
        goal=f"≥ {what.goal:.2f}",
        reached=ours / bare >= what.goal,
    )


def _ours(running: System, keys: Sequence[str], photo: bytes) -> float:
    before = running.count("crop")
    prepared = uploads.prepare(running, "photos", keys, photo)
    with running.paused_intake():
        uploads.put_all(prepared)
        start = time.perf_counter()
    running.wait_for("crop", before + len(keys))
    return len(keys) / (time.perf_counter() - start)


def _check(running: System, keys: Sequence[str]) -> None:
    """See that both have stored the same."""
    client = running.s3()
    for key in (f"cropped/{key.removeprefix('in/')}" for key in (keys[0], keys[-1])):
        sizes = {client.head_object(Bucket=b, Key=key)["ContentLength"] for b in ("photos", _BARE)}
        if len(sizes) != 1:
            raise RuntimeError(f"{key}: crops of {sizes} bytes")


# -- the bare loop ---------------------------------------------------------------------------------


def _bare(running: System, keys: Sequence[str], photo: bytes) -> float:
    uploads.put_all(uploads.prepare(running, _BARE, keys, photo))
    ready, taken, ends = _spawn.Barrier(PROCESSES + 1), _spawn.Value("i", 0), _spawn.SimpleQueue()
    arguments = (running.variables, list(keys), ready, taken, ends)
    processes = [_spawn.Process(target=_loop, args=arguments) for _ in range(PROCESSES)]
    try:
        for process in processes:
            process.start()
        ready.wait(_PATIENCE)
        start = time.time()
        _join(processes)
    finally:
        for process in processes:
            process.kill()
    end: float = max(ends.get() for _ in processes)
    return len(keys) / (end - start)


def _join(processes: Sequence[Any]) -> None:
    end = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.exitcode != 0:
            raise RuntimeError(f"a bare loop ended with {process.exitcode}")


def _loop(
    variables: dict[str, str], keys: list[str], ready: Barrier, taken: Any, ends: Any
) -> None:
    """One process of the bare loop."""
    example, client = _example(), s3(variables)
    client.head_bucket(Bucket=_BARE)
    ready.wait(_PATIENCE)
    while (number := _next(taken)) < len(keys):
        found = client.get_object(Bucket=_BARE, Key=keys[number])
        cropped = example.crop_image(found["Body"].read(), example.SETTINGS)
        client.put_object(
            Bucket=_BARE,
            Key=f"cropped/{keys[number].removeprefix('in/')}",
            Body=cropped.data,
            ContentType=cropped.content_type,
        )
    ends.put(time.time())


def _next(taken: Any) -> int:
    with taken.get_lock():
        taken.value += 1
        return int(taken.value) - 1


def _example() -> ModuleType:
    """The example's module: the same code as the function's."""
    spec = importlib.util.spec_from_file_location("photo_crop", EXAMPLE / "app.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["photo_crop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
