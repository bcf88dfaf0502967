"""Uploads that cost the machine little: PUTs by URLs signed beforehand, over kept connections.

boto3 spends more of a processor on a small PUT than MinIO does; measured beside a system on the
same machine, it would mostly measure itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from benchmarks.system import System

_VALID: Final = 3_600
_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Upload:
    """One PUT, ready to be sent."""

    key: str
    url: str
    body: bytes


_Timed: TypeAlias = tuple[float, Upload]


def prepare(system: System, bucket: str, keys: Sequence[str], body: bytes) -> list[Upload]:
    """Sign a PUT for each of these keys."""
    client = system.s3()

    def signed(key: str) -> str:
        return str(
            client.generate_presigned_url(
                "put_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_VALID
            )
        )

    return [Upload(key, signed(key), body) for key in keys]


def put_all(uploads: Sequence[Upload]) -> None:
    """Upload as fast as it goes."""
    put_at(uploads, [0.0] * len(uploads), threads=4)


def put_at(
    uploads: Sequence[Upload],
    moments: Sequence[float],
    threads: int = 8,
    then: Callable[[str], object] | None = None,
) -> dict[str, float]:
    """Upload each at its moment, in seconds from now, then call `then` with its key.

    Returns when each key was answered, as `time.time()` has it.
    """
    start = time.monotonic()
    todo: SimpleQueue[_Timed] = SimpleQueue()
    for upload, moment in zip(uploads, moments, strict=True):
        todo.put((start + moment, upload))
    answered: dict[str, float] = {}
    with ThreadPoolExecutor(threads) as pool:
        for each in [pool.submit(_put_each, todo, answered, then) for _ in range(threads)]:
            each.result()
    return answered


def _put_each(
    todo: SimpleQueue[_Timed], answered: dict[str, float], then: Callable[[str], object] | None
) -> None:
    """One thread's part."""
    connection: HTTPConnection | None = None
    try:
        while True:
            moment, upload = todo.get_nowait()
            connection = connection or HTTPConnection(urlsplit(upload.url).netloc, timeout=_TIMEOUT)
            time.sleep(max(0.0, moment - time.monotonic()))
            answered[upload.key] = _put(connection, upload)
            if then is not None:
                then(upload.key)
    except Empty:
        return
    finally:
        if connection is not None:
            connection.close()


def _put(connection: HTTPConnection, upload: Upload) -> float:
    parts = urlsplit(upload.url)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=upload.body)
    response = connection.getresponse()
    answered = time.time()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"PUT {upload.key}: {response.status} {text[:300]!r}")
    return answered
