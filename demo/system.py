"""A whole system of its own, for as long as the demo lasts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from minio import Minio
from minio.error import S3Error

from broker.logs import FunctionLogs
from bucketwheel import testing
from bucketwheel.testing import Tell
from demo.crops import Crop
from demo.reports import Report, reports


class System:
    """A running system, reached as its user with what `bucketwheel env` prints."""

    def __init__(self, system: testing.System) -> None:
        self.run = system.run
        found = system.instance
        self._store = Minio(
            found.s3_endpoint.removeprefix("http://"),
            access_key=found.user_access_key,
            secret_key=found.user_secret_key,
            region=found.s3_region,
            secure=False,
        )
        self._logs = FunctionLogs(system.redis)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """Upload an object."""
        self._store.put_object(bucket, key, BytesIO(data), len(data), content_type)

    def get(self, bucket: str, key: str) -> Crop | None:
        """An object, if there is one."""
        try:
            response = self._store.get_object(bucket, key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        with response:
            return Crop(response.data, response.headers.get("Content-Type", ""))

    def reports(self, function: str) -> list[Report]:
        """The invocations that a function has finished."""
        return list(reports(entry.text for entry in self._logs.read(function)))


@contextmanager
def running(tell: Tell, keep_logs: Path) -> Iterator[System]:
    """A running system; stopped and removed at the end, whatever happens.

    The logs of one that is left by an error are kept in a folder.
    """
    with TemporaryDirectory(prefix="bucketwheel-demo-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        try:
            with testing.running(data, tell) as system:
                yield System(system)
        except Exception as error:
            shutil.rmtree(keep_logs, ignore_errors=True)
            if (data / "logs").is_dir():
                shutil.copytree(data / "logs", keep_logs)
            error.add_note(f"What the system logged is kept in {keep_logs}")
            raise
