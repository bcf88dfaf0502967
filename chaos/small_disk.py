"""A disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Bytes; a file of the store's queue takes a page of 4 KiB.
SIZE: Final = 256 * 1024


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount one at this folder for as long as this lasts; only root can. tmpfs(5).

    Raises:
        CalledProcessError: the kernel refuses.
    """
    folder.mkdir(parents=True)
    options = f"size={SIZE},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaos", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
