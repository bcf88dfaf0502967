"""The Lambda Runtime API, as one environment sees it: HTTP on a loopback port of its own.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. A client may use several
connections, send bodies in chunks with trailers, and wait for its next invocation for hours.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

import httptools

from broker.invocation import MAX_SYNC_PAYLOAD
from workers.peer import uid_of

log = logging.getLogger("bucketwheel.environment")

_BASE: Final = "/2018-06-01/runtime/"
#: AWS allows a response 6 MB and some: `6291556 bytes` is the number its message tells.
MAX_RESPONSE: Final = MAX_SYNC_PAYLOAD + 100
#: Bytes of a request's path and headers. `awslambdaric` sends an error's trace in a header as well
#: (`Lambda-Runtime-Function-XRay-Error-Cause`), of 1 MB at most.
MAX_HEAD: Final = 2 * 1024 * 1024

_STATUS: Final = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    413: "Payload Too Large",
}  # fmt: skip


class Runtime(Protocol):
    """What the API is the face of: an environment. Each answers with a status code."""

    def on_next(self, connection: Connection) -> None:
        """The runtime asks for its next invocation; answered by `connection.send`."""

    def on_response(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's response."""

    def on_error(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        """The handler's error."""

    def on_too_large(self, id: str) -> None:
        """The response, or the error's report, was over the quota."""

    def on_init_error(self, body: bytes, headers: dict[str, str]) -> int:
        """Initialisation failed."""


class Connection(asyncio.Protocol):
    """One connection; the names of the callbacks are httptools'."""

    def __init__(self, runtime: Runtime, uid: int | None = None) -> None:
        """Of a runtime whose processes run under a user of their own, nobody else is heard."""
        self._runtime = runtime
        self._uid = uid
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether the runtime can still be answered."""
        return self._transport is not None

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A runtime has connected, or another function that would have its invocations."""
        assert isinstance(transport, asyncio.Transport)
        if self._uid is not None and self._peer(transport) != self._uid:
            log.warning("a process of another user was refused at a function's Runtime API")
            transport.abort()
        else:
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes have come; what is no HTTP ends the connection."""
        if self._transport is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        except Exception:
            log.exception("a request to the Runtime API could not be answered")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The runtime has gone; its end as a process says why."""
        self._transport = None

    def _peer(self, transport: asyncio.Transport) -> int | None:
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        return uid_of(peer, own)

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head = 0
        self._too_large = False

    def on_url(self, url: bytes) -> None:
        """Part of its path."""
        self._bound(len(url))
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer: a failure in mid-stream is told there."""
        self._bound(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _bound(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise httptools.HttpParserError(f"a request's head has over {MAX_HEAD:,} bytes")

    def on_headers_complete(self) -> None:
        """The body is to follow; who asks first is told to go on. RFC 9110, 10.1.1."""
        if self._transport and self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of its body, kept up to the quota."""
        if len(self._body) + len(body) > MAX_RESPONSE:
            self._too_large = True
            self._body.clear()
        elif not self._too_large:
            self._body += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._parser.should_upgrade():
            return self.close()  # to another protocol, which there is not
        method, path = self._parser.get_method(), self._url.decode("latin-1")
        if not path.startswith(_BASE):
            return self.send(404, b'{"errorType":"NotFound"}')
        parts = path[len(_BASE) :].split("/")
        if method == b"GET" and parts == ["invocation", "next"]:
            return self._runtime.on_next(self)
        if method == b"GET" and parts == ["restore", "next"]:  # a snapshot has been restored
            return self.send(200, b"{}")
        return self._on_post(method, parts)

    def _on_post(self, method: bytes, parts: list[str]) -> None:
        body, headers = bytes(self._body), self._headers
        status = 404
        if method == b"POST" and parts in (["init", "error"], ["restore", "error"]):
            status = self._runtime.on_init_error(body, headers)
        elif method == b"POST" and len(parts) == 3 and parts[0] == "invocation":
            status = self._on_result(parts[1], parts[2], body, headers)
        self.send(
            status, b'{"status":"OK"}' if status == 202 else b'{"errorType":"InvalidRequest"}'
        )

    def _on_result(self, id: str, kind: str, body: bytes, headers: dict[str, str]) -> int:
        if kind in ("response", "error") and self._too_large:
            self._runtime.on_too_large(id)
            return 413
        if kind == "response":
            return self._runtime.on_response(id, body, headers)
        return self._runtime.on_error(id, body, headers) if kind == "error" else 404

    # answers

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer; to a connection that has gone, nothing happens."""
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {status} {_STATUS[status]}", f"Content-Length: {len(body)}"]
        lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()
