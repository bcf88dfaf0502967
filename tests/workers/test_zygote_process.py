"""The zygote's loop: when it takes its worker for one that stands still."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Timer

import pytest

from workers import zygote_process
from workers.zygote_process import Zygote
from workers.zygote_protocol import Alive, send


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a zygote's channel; each sign of life is too old at once."""
    monkeypatch.setattr(zygote_process, "SILENCE", 0.0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_worker_that_stands_still_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    """Its work is given to others soon: nothing of it may go on."""
    zygote = Zygote(ends[1], None)
    zygote.take(Alive(), [])

    with pytest.raises(ConnectionError, match="the worker stands still"):
        zygote.look()


def test_a_sign_of_life_that_is_on_its_way_is_waited_for(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the whole machine stood still, the zygote may be the first to go on."""
    monkeypatch.setattr(zygote_process, "LAST_CALL", 60.0)
    zygote = Zygote(ends[1], None)
    zygote.take(Alive(), [])
    Timer(0.05, send, (ends[0], Alive())).start()

    assert zygote.look() == zygote_process.LOOK


def test_a_zygote_that_nobody_gives_signs_waits_for_none() -> None:
    """Until the first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert Zygote(theirs, None).look() is None
