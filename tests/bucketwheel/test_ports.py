"""Ports: the one that was asked for, or a free one, or a word about whose setting is in the way."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bucketwheel import ports
from bucketwheel.errors import StartError

LOOPBACK = "127.0.0.1"


def test_any_means_a_free_one_and_each_its_own() -> None:
    """A server can take the port it was given."""
    chosen = ports.choose({f"PORT{number}": 0 for number in range(20)})

    assert len(set(chosen.values())) == 20
    for port in chosen.values():
        with socket.create_server((LOOPBACK, port)):
            pass


_OUTGOING = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


@pytest.mark.skipif(_OUTGOING < 20_000, reason="connections may get nearly any port")
def test_a_free_port_is_none_that_a_connection_may_get() -> None:
    """Else an outgoing connection may hold it when its server begins, or begins again."""
    chosen = ports.choose({f"PORT{number}": 0 for number in range(50)})

    assert all(1_024 <= port < _OUTGOING for port in chosen.values())


def test_a_free_port_that_is_asked_for_is_the_one() -> None:
    """Nothing is held any more afterwards."""
    port = ports.choose({"S3_PORT": 0})["S3_PORT"]

    assert ports.choose({"S3_PORT": port}) == {"S3_PORT": port}


@pytest.mark.parametrize("address", [LOOPBACK, "0.0.0.0"])
def test_a_port_that_somebody_holds_is_refused_with_its_setting(address: str) -> None:
    """Also when he serves all addresses, ours among them."""
    with socket.create_server((address, 0)) as somebody:
        port = somebody.getsockname()[1]

        with pytest.raises(StartError, match=f"^port {port} is taken: set BUCKETWHEEL_REDIS_PORT"):
            ports.choose({"S3_PORT": 0, "REDIS_PORT": port})


def test_a_port_asked_for_twice_is_refused() -> None:
    """Two servers cannot share one."""
    port = ports.choose({"S3_PORT": 0})["S3_PORT"]

    with pytest.raises(StartError, match="set BUCKETWHEEL_CONSOLE_PORT to another, or 0"):
        ports.choose({"S3_PORT": port, "CONSOLE_PORT": port})


def test_a_port_that_connections_linger_on_is_free() -> None:
    """A system that has just been stopped can be started again at once."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((LOOPBACK, port))
        served, _ = server.accept()
        served.close()  # who closes first is left lingering
        assert client.recv(1) == b""
        client.close()

    assert ports.choose({"S3_PORT": port}) == {"S3_PORT": port}


_FIRST_FREE_TO_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(int(_FIRST_FREE_TO_ALL.read_text()) < 2, reason="everybody may take any port")
def test_a_port_for_the_privileged_is_refused_with_what_to_do() -> None:
    """The number is what is wrong, not that somebody holds it."""
    user = os.geteuid()
    os.seteuid(user or 65_534)  # root may take any
    try:
        with pytest.raises(StartError, match="port 1 needs more rights: set BUCKETWHEEL_S3_PORT"):
            ports.choose({"S3_PORT": 1})
    finally:
        os.seteuid(user)


def test_nothing_asked_is_nothing_chosen() -> None:
    """Both servers may be somebody else's."""
    assert ports.choose({}) == {}
