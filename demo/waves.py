"""Two waves of uploads: all at once, and then the same ones after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from demo.errors import NothingHeard
from demo.reports import Report
from demo.results import Outcome
from demo.screen import Advance
from demo.system import System
from demo.uploads import Upload
from demo.words import listed

#: What the example declares.
FUNCTION: Final = "crop"
BUCKET: Final = "photos"

#: Uploads at the same time.
_UPLOADERS: Final = 4
#: Seconds until an upload must have led to a finished invocation.
_PATIENCE: Final = 60.0


class Wave:
    """Uploads under a folder of their own, so that each invocation is told from all others."""

    def __init__(self, system: System, folder: str) -> None:
        self._system, self._folder = system, folder
        self._end = time.monotonic() + _PATIENCE

    def together(self, uploads: Sequence[Upload], advance: Advance) -> dict[str, Outcome]:
        """Upload all at once; what became of each, by its file.

        Raises:
            NothingHeard: some led to no finished invocation in time.
        """
        began = time.monotonic()
        with ThreadPoolExecutor(_UPLOADERS) as pool:
            putting = [pool.submit(self._put, each) for each in uploads]
            while len(found := self._reports(uploads)) < len(uploads):
                done = [each.result() for each in putting if each.done()]
                advance(len(done), len(found))
                self._wait({each.file for each in uploads} - set(found), 0.05)
        advance(len(uploads), len(uploads))
        seconds = time.monotonic() - began
        return {each.file: self._outcome(each, found[each.file], seconds) for each in uploads}

    def alone(self, upload: Upload) -> Outcome:
        """Upload one, and wait for what becomes of it.

        Raises:
            NothingHeard: it led to no finished invocation in time.
        """
        began = time.monotonic()
        self._put(upload)
        while not (found := self._reports([upload])):
            self._wait({upload.file}, 0.005)
        return self._outcome(upload, found[upload.file], time.monotonic() - began)

    def _put(self, upload: Upload) -> None:
        key = f"in/{self._folder}/{upload.file}"
        self._system.put(BUCKET, key, upload.data, upload.content_type)

    def _reports(self, uploads: Sequence[Upload]) -> dict[str, Report]:
        """The first report of each upload; a failure is tried again later."""
        found: dict[str, Report] = {}
        for report in self._system.reports(FUNCTION):
            for upload in uploads:
                if report.is_about(f"{BUCKET}/in/{self._folder}/{upload.file}"):
                    found.setdefault(upload.file, report)
        return found

    def _outcome(self, upload: Upload, report: Report, seconds: float) -> Outcome:
        crop = self._system.get(BUCKET, f"cropped/{self._folder}/{upload.file}")
        return Outcome(report, crop, seconds)

    def _wait(self, missing: set[str], seconds: float) -> None:
        if time.monotonic() > self._end:
            raise NothingHeard(
                f"{_PATIENCE:g} s after the upload, nothing is heard of {listed(sorted(missing))}"
            )
        time.sleep(seconds)
