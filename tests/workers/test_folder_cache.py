"""Folders that are made once, whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.folder_cache import FolderCache


def _fill(to: Path) -> None:
    (to / "file").write_text("filled")


def test_a_folder_is_filled_once_whoever_asks(tmp_path: Path) -> None:
    """Also when many ask at once."""
    cache, filled = FolderCache(tmp_path / "cache"), []

    def fill(to: Path) -> None:
        filled.append(to)
        _fill(to)

    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: cache.path("one", fill), range(64)))

    assert len(filled) == 1
    assert [(each / "file").read_text() for each in paths] == ["filled"]


def test_what_failed_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    """Neither half a folder nor what was put beside it."""

    def fail(to: Path) -> None:
        _fill(to)
        _fill(to.parent)
        raise OSError("disk full")

    cache = FolderCache(tmp_path)
    with pytest.raises(OSError, match="disk full"):
        cache.path("one", fail)
    assert os.listdir(tmp_path) == []

    assert os.listdir(cache.path("one", _fill)) == ["file"]
    assert os.listdir(tmp_path) == ["one"]


def test_of_what_earlier_workers_left_only_what_is_used_stays(tmp_path: Path) -> None:
    """What was asked for since the start stays, too; and a torn attempt of a killed worker goes."""
    (tmp_path / ".new-torn").mkdir()
    earlier = FolderCache(tmp_path)
    for name in ("used", "asked", "unused"):
        earlier.path(name, _fill)

    cache = FolderCache(tmp_path)
    cache.path("asked", _fill)
    cache.path("new", _fill)
    cache.keep_only(["used"])
    assert sorted(os.listdir(tmp_path)) == ["asked", "new", "used"]

    cache.keep_only([])
    assert sorted(os.listdir(tmp_path)) == ["asked", "new", "used"]
