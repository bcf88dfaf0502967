"""A steady load of uploads, each answered or not."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from bucketwheel.testing import System

BUCKET: Final = "chaos"
#: Threads that upload: a store that hangs holds each of them.
THREADS: Final = 6
#: Seconds to wait for an answer, and after a failure.
TIMEOUT: Final = 10.0
PAUSE: Final = 0.2
#: Seconds that a run takes, and how often among so many.
LENGTHS: Final = {"0.02": 75, "0.2": 15, "2.0": 10}


@dataclass
class Uploads:
    """What was uploaded: key -> when the store answered 200, by `time.monotonic()`."""

    answered: dict[str, float] = field(default_factory=dict)
    #: Keys whose upload had no such answer: the object may be there or not.
    unanswered: set[str] = field(default_factory=set)
    #: Set: no more.
    enough: threading.Event = field(default_factory=threading.Event)


@contextmanager
def uploading(system: System, per_second: float, seed: int) -> Iterator[Uploads]:
    """Upload for as long as this lasts, or until there is `enough`."""
    uploads = Uploads()
    threads = [
        threading.Thread(
            target=_upload, args=(uploads, _store(system), THREADS / per_second, seed, at)
        )
        for at in range(THREADS)
    ]
    for each in threads:
        each.start()
    try:
        yield uploads
    finally:
        uploads.enough.set()
        for each in threads:
            each.join()


def _upload(uploads: Uploads, store: Minio, interval: float, seed: int, number: int) -> None:
    dice = random.Random(f"{seed} {number}")
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    due, count = time.monotonic() + interval * dice.random(), 0
    while not uploads.enough.wait(max(0.0, due - time.monotonic())):
        due = max(due + interval, time.monotonic() - interval)
        key = f"{dice.choices(lengths, weights)[0]}/{number}-{count:06}"
        count += 1
        try:
            store.put_object(BUCKET, key, io.BytesIO(b"x"), 1)
        except (MinioException, HTTPError):
            uploads.unanswered.add(key)
            uploads.enough.wait(PAUSE)
        else:
            uploads.answered[key] = time.monotonic()


def _store(system: System) -> Minio:
    found = system.instance
    return Minio(
        urlsplit(found.s3_endpoint).netloc,
        found.user_access_key,
        found.user_secret_key,
        secure=False,
        region=found.s3_region,
        http_client=urllib3.PoolManager(maxsize=2, retries=False, timeout=TIMEOUT),
    )
