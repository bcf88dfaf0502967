"""Pages as a browser shows them: headless Chromium, from the distribution."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import absent

#: Milliseconds of the page's own time for its scripts to ask for their data.
_BUDGET = 15_000


def text_of(url: str) -> str:
    """The page's document once its scripts have run."""
    return _chromium("--dump-dom", url)


def picture_of(url: str, file: Path) -> None:
    """A PNG file of what it looks like."""
    _chromium(f"--screenshot={file}", "--window-size=1500,900", "--hide-scrollbars", url)


def _chromium(*arguments: str) -> str:
    program = shutil.which("chromium")
    if program is None:
        absent("pages are opened in chromium: install it (Debian: apt-get install chromium)")
    # A helper process may still write into it when the browser has ended.
    with tempfile.TemporaryDirectory(prefix="bw-chromium-", ignore_cleanup_errors=True) as profile:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        command += [f"--virtual-time-budget={_BUDGET}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout
