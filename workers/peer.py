"""Who is at the other end of a loopback connection: the user, as the kernel tells it.

sock_diag(7): one question about one socket, instead of reading all of /proc/net/tcp.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
#: `struct inet_diag_req_v2` up to its addresses, which are in network order.
_REQUEST: Final = struct.Struct("=BBBBI")
_SOCKET: Final = struct.Struct("!HH4s12x4s12x")
_ANY_STATE: Final = 0xFFFF_FFFF
_NO_INTERFACE_NO_COOKIE: Final = struct.pack("=III", 0, 0xFFFF_FFFF, 0xFFFF_FFFF)
#: Where `struct inet_diag_msg` has the user.
_USER: Final = struct.Struct("=I")
_USER_AT: Final = _HEADER.size + 64

Address = tuple[str, int]


def uid_of(peer: Address, own: Address) -> int | None:
    """The user who made the other end of an IPv4 connection on this host; None: it has gone.

    Raises:
        OSError: the kernel does not answer such questions.
    """
    ends = _SOCKET.pack(peer[1], own[1], socket.inet_aton(peer[0]), socket.inet_aton(own[0]))
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY_STATE)
    body = request + ends + _NO_INTERFACE_NO_COOKIE
    head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(1.0)
        diag.send(head + body)
        answer = diag.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY or len(answer) < _USER_AT + _USER.size:
        return None
    uid: int = _USER.unpack_from(answer, _USER_AT)[0]
    return uid
