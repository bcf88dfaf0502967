"""Credentials: made once, kept for their owner, and never shown."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bucketwheel.credentials import Credentials, write_private
from bucketwheel.errors import InstanceError


def _values(credentials: Credentials) -> list[str]:
    return [getattr(credentials, each.name) for each in fields(Credentials)]


def test_they_are_made_once_and_kept(tmp_path: Path) -> None:
    """The store's data are of no use under another key."""
    first = Credentials.keep(tmp_path)

    assert Credentials.keep(tmp_path) == first


def test_no_two_are_alike(tmp_path: Path) -> None:
    """Neither in one system nor in two."""
    (tmp_path / "other").mkdir()
    values = _values(Credentials.keep(tmp_path)) + _values(Credentials.keep(tmp_path / "other"))

    assert len(set(values)) == len(values)


def test_they_are_what_the_servers_take_and_nobody_guesses(tmp_path: Path) -> None:
    """MinIO's keys have 20 and 40 characters at most; letters and digits need no quoting."""
    made = Credentials.keep(tmp_path)

    assert len(made.s3_access_key) == 20
    assert {len(value) for value in _values(made)} == {20, 40}
    assert all(value.isascii() and value.isalnum() for value in _values(made))


def test_they_are_not_shown(tmp_path: Path) -> None:
    """An error's text or a log may hold whatever is printed."""
    made = Credentials.keep(tmp_path)

    assert not any(value in repr(made) + str(made) for value in _values(made))


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    """From the file's first moment, whatever the umask."""
    before = os.umask(0)
    try:
        Credentials.keep(tmp_path)
    finally:
        os.umask(before)

    (kept,) = tmp_path.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


GOOD = {each.name: "x" * 20 for each in fields(Credentials)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        json.dumps({**GOOD, "redis_password": None}).encode(),
        json.dumps({**GOOD, "redis_password": ""}).encode(),
        json.dumps({**GOOD, "redis_password": 7}).encode(),
    ],
)
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    """New keys instead would look like data that are lost."""
    (tmp_path / "credentials.json").write_bytes(content)

    with pytest.raises(InstanceError, match=r"credentials\.json is damaged: restore it, or remove"):
        Credentials.keep(tmp_path)

    assert (tmp_path / "credentials.json").read_bytes() == content


def test_what_a_later_version_adds_is_no_damage(tmp_path: Path) -> None:
    """Going back a version must be possible."""
    (tmp_path / "credentials.json").write_text(json.dumps({**GOOD, "more": "x"}))

    assert Credentials.keep(tmp_path).redis_password == "x" * 20


def test_a_private_file_is_replaced_at_once(tmp_path: Path) -> None:
    """Who reads it meanwhile sees the old content or the new; nothing is left beside it."""
    path = tmp_path / "file"
    write_private(path, "old é")
    with path.open(encoding="utf-8") as reader:
        write_private(path, "new")
        assert reader.read() == "old é"

    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_what_there_was(tmp_path: Path) -> None:
    """And nothing half-written."""
    path = tmp_path / "file"
    write_private(path, "old")
    unwritable: Any = object()

    with pytest.raises(TypeError):
        write_private(path, unwritable)

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
