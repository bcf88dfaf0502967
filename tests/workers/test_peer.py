"""Who is at the other end of a connection: asked of the kernel, about real sockets."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from workers.peer import uid_of


def test_our_own_connection_is_ours() -> None:
    """Whichever end asks."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        served, peer = server.accept()
        with served:
            assert uid_of(peer, served.getsockname()) == os.getuid()
            assert uid_of(served.getsockname(), peer) == os.getuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_users_connection_is_theirs() -> None:
    """The user who made the socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"exec 3<>/dev/tcp/127.0.0.1/{port}; read <&3"
        with subprocess.Popen(["bash", "-c", connect], user=54321, group=54321, extra_groups=[]):
            served, peer = server.accept()
            with served:
                assert uid_of(peer, served.getsockname()) == 54321


def test_what_is_no_connection_has_no_user() -> None:
    """It may have gone before it was asked about."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert uid_of(("127.0.0.1", 1), server.getsockname()) is None
