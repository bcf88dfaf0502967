"""The Runtime API on a real socket: whatever way bytes come, the environment hears the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.runtime_api import MAX_RESPONSE, Connection

BASE = "/2018-06-01/runtime"
Headers = dict[str, str]


@dataclass
class _Environment:
    """Writes down what it hears; answers with a status that the test has chosen."""

    status: int = 202
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    waiting: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)

    def on_next(self, connection: Connection) -> None:
        self.waiting.put_nowait(connection)

    def on_response(self, id: str, body: bytes, headers: Headers) -> int:
        self.heard.append(("response", id, body, headers))
        return self.status

    def on_error(self, id: str, body: bytes, headers: Headers) -> int:
        self.heard.append(("error", id, body, headers))
        return self.status

    def on_too_large(self, id: str) -> None:
        self.heard.append(("too large", id))

    def on_init_error(self, body: bytes, headers: Headers) -> int:
        self.heard.append(("init error", body, headers))
        return self.status


class _Client:
    """A connection of raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def answer(self) -> tuple[int, Headers, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, body

    async def ask(self, *parts: bytes) -> int:
        await self.send(*parts)
        return (await self.answer())[0]

    async def is_ended(self) -> bool:
        """Wait for the other side's end, which comes without an answer."""
        try:
            return await self._reader.read() == b""
        except ConnectionResetError:  # there was more to read than was heard
            return True

    def close(self) -> None:
        self._writer.close()


@dataclass
class _Api:
    environment: _Environment
    port: int

    async def connect(self) -> _Client:
        return _Client(*await asyncio.open_connection("127.0.0.1", self.port))


def _serve(work: Callable[[_Api], Coroutine[Any, Any, None]], status: int = 202) -> _Environment:
    """Serve the API of an environment while something works with it."""

    async def run() -> _Environment:
        environment = _Environment(status)
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(environment), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.wait_for(work(_Api(environment, port)), 60)
        return environment

    return asyncio.run(run())


def _request(method: str, path: str, body: bytes = b"", headers: Headers | None = None) -> bytes:
    lines = [f"{method} {BASE}{path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _chunked(path: str, chunks: list[bytes], trailers: Headers | None = None) -> bytes:
    """As Go's and Node's clients post."""
    head = f"POST {BASE}{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += f"Trailer: {', '.join(trailers)}\r\n" if trailers else ""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    last = "".join(f"{name}: {text}\r\n" for name, text in (trailers or {}).items())
    return head.encode() + b"\r\n" + body + b"0\r\n" + last.encode() + b"\r\n"


RESPONSE = "/invocation/6f1c/response"
ERROR = "/invocation/6f1c/error"
TYPE = "Lambda-Runtime-Function-Error-Type"


# -- next ------------------------------------------------------------------------------------------


def test_an_invocation_is_handed_over_as_it_is() -> None:
    """The event's bytes are the client's to read; what belongs to it comes in headers."""
    event = '{"key": "é"}'.encode()

    async def work(api: _Api) -> None:
        client = await api.connect()
        await client.send(_request("GET", "/invocation/next"))
        connection = await api.environment.waiting.get()
        connection.send(200, event, {"Lambda-Runtime-Aws-Request-Id": "6f1c"})

        status, headers, body = await client.answer()

        assert (status, body) == (200, event)
        assert headers["lambda-runtime-aws-request-id"] == "6f1c"
        assert headers["content-type"] == "application/json"

    _serve(work)


def test_a_client_may_wait_on_one_connection_and_post_on_another() -> None:
    """AWS's Python client does."""

    async def work(api: _Api) -> None:
        waits, posts = await api.connect(), await api.connect()
        await waits.send(_request("GET", "/invocation/next"))
        connection = await api.environment.waiting.get()
        for _ in range(3):
            assert await posts.ask(_request("POST", RESPONSE, b"1")) == 202
        connection.send(200, b"{}")
        assert (await waits.answer())[0] == 200

    assert len(_serve(work).heard) == 3


def test_to_a_client_that_has_gone_nothing_is_sent() -> None:
    """Its end as a process says why; the environment has nothing to catch."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        await client.send(_request("GET", "/invocation/next"))
        connection = await api.environment.waiting.get()
        client.close()
        while connection._transport is not None:
            await asyncio.sleep(0)
        connection.send(200, b"{}")
        connection.close()

    _serve(work)


# -- responses and errors --------------------------------------------------------------------------


def test_a_response_is_heard_with_its_id() -> None:
    """Its body is not looked at here."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        await client.send(_request("POST", RESPONSE, b"\x00\xff any bytes\r\n\r\n"))
        assert await client.answer() == (202, *(await _ok()))

    async def _ok() -> tuple[Headers, bytes]:
        body = b'{"status":"OK"}'
        return {"content-length": str(len(body)), "content-type": "application/json"}, body

    ((kind, id, body, _),) = _serve(work).heard
    assert (kind, id, body) == ("response", "6f1c", b"\x00\xff any bytes\r\n\r\n")


def test_chunks_are_one_body_and_a_trailer_is_heard_like_a_header() -> None:
    """A failure in the middle of a stream is told only there."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        trailers = {TYPE: "Function.Broken", "Lambda-Runtime-Function-Error-Body": "e30="}
        assert await client.ask(_chunked(RESPONSE, [b'"ha', b"lf", b'"'], trailers)) == 202

    ((_, _, body, headers),) = _serve(work).heard
    assert body == b'"half"'
    assert headers[TYPE.lower()] == "Function.Broken"
    assert headers["lambda-runtime-function-error-body"] == "e30="


@pytest.mark.parametrize("headers", [{}, {TYPE: "Runtime.ExitError"}])
def test_an_error_is_heard_with_and_without_its_type(headers: Headers) -> None:
    """Most clients send none."""
    body = json.dumps({"errorType": "ValueError", "errorMessage": "no"}).encode()

    async def work(api: _Api) -> None:
        client = await api.connect()
        assert await client.ask(_request("POST", ERROR, body, headers)) == 202
        assert await client.ask(_chunked(ERROR, [body], headers)) == 202

    for kind, id, told, heard in _serve(work).heard:
        assert (kind, id, told) == ("error", "6f1c", body)
        assert heard.get(TYPE.lower()) == headers.get(TYPE)


def test_a_failed_initialisation_is_heard() -> None:
    """The module could not be imported."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        assert await client.ask(_request("POST", "/init/error", b"{}", {TYPE: "X"})) == 202

    ((kind, body, headers),) = _serve(work).heard
    assert (kind, body, headers[TYPE.lower()]) == ("init error", b"{}", "X")


@pytest.mark.parametrize("status", [400, 403])
def test_what_the_environment_refuses_is_refused(status: int) -> None:
    """A late response, one to another invocation."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        for path in (RESPONSE, ERROR, "/init/error"):
            await client.send(_request("POST", path, b"{}"))
            assert (await client.answer())[::2] == (status, b'{"errorType":"InvalidRequest"}')

    _serve(work, status)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/"),
        ("POST", "/invocation/next"),
        ("GET", RESPONSE),
        ("POST", "/invocation/6f1c"),
        ("POST", "/invocation/6f1c/other"),
        ("POST", "/invocation/6f1c/response/more"),
        ("PUT", RESPONSE),
        ("POST", "/init/other"),
        ("DELETE", "/../../../etc/passwd"),
    ],
)
def test_what_there_is_not_is_not_found(method: str, path: str) -> None:
    """The connection goes on."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        assert await client.ask(_request(method, path)) == 404
        assert await client.ask(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n") == 404
        assert await client.ask(_request("POST", RESPONSE)) == 202

    assert len(_serve(work).heard) == 1


# -- the quota -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda b: _request("POST", RESPONSE, b), None])
@pytest.mark.parametrize("surplus", [0, 1, 1_000_000])
def test_six_megabytes_are_allowed_and_no_byte_more(
    make: Callable[[bytes], bytes] | None, surplus: int
) -> None:
    """What is over the quota is not kept; the next request finds the connection in order."""
    body = bytes(MAX_RESPONSE + surplus)
    pieces = [body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)]
    request = make(body) if make else _chunked(RESPONSE, pieces)

    async def work(api: _Api) -> None:
        client = await api.connect()
        assert await client.ask(request) == (413 if surplus else 202)
        assert await client.ask(_request("POST", RESPONSE, b"1")) == 202

    first, second = _serve(work).heard
    assert first[:2] == (("too large" if surplus else "response"), "6f1c")
    assert first[2:3] == (() if surplus else (body,))
    assert second[:3] == ("response", "6f1c", b"1")


def test_an_errors_report_over_the_quota_is_too_large_as_well() -> None:
    """Its trace may be endless; that the invocation has ended is heard."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        endless = bytes(MAX_RESPONSE + 1)
        assert await client.ask(_request("POST", ERROR, endless, {TYPE: "X"})) == 413

    assert _serve(work).heard == [("too large", "6f1c")]


# -- bytes as they come ----------------------------------------------------------------------------

_TWO = _chunked(RESPONSE, [b"a" * 20, b"b"], {TYPE: "First"}) + _request("POST", ERROR, b"second")


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(_TWO)), max_size=12).map(sorted))
def test_requests_are_heard_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    """Two requests on one connection, sent without waiting: answered in order, none mixed up."""
    ends = [0, *cuts, len(_TWO)]
    parts = [_TWO[start:end] for start, end in pairwise(ends)]

    async def work(api: _Api) -> None:
        client = await api.connect()
        await client.send(*parts)
        assert [(await client.answer())[0] for _ in range(2)] == [202, 202]

    first, second = _serve(work).heard
    assert (first[2], first[3][TYPE.lower()]) == (b"a" * 20 + b"b", "First")
    assert (second[0], second[2]) == ("error", b"second")
    assert TYPE.lower() not in second[3]


def test_requests_are_heard_byte_by_byte() -> None:
    """A slow client is a client."""

    async def work(api: _Api) -> None:
        client = await api.connect()
        for byte in _TWO:
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert [(await client.answer())[0] for _ in range(2)] == [202, 202]

    assert len(_serve(work).heard) == 2


_POST = f"POST {BASE}{RESPONSE} HTTP/1.1\r\n".encode()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"BREW /pot HTCPCP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\nhello\r\n\r\n",
        _POST + b"Content-Length: some\r\n\r\n",
        _POST + b"Content-Length: -1\r\n\r\n",
        _POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        _POST + b"no colon\r\n\r\n",
        _POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        _POST + (b"X: " + b"y" * 1_000 + b"\r\n") * 3_000,
        b"POST /" + b"x" * 3_000_000,
    ],
)
def test_what_is_no_http_ends_its_connection_and_no_other(rubbish: bytes) -> None:
    """Nothing of it is heard."""

    async def work(api: _Api) -> None:
        good, bad = await api.connect(), await api.connect()
        await bad.send(rubbish)
        assert await bad.is_ended()
        assert await good.ask(_request("POST", RESPONSE, b"1")) == 202

    assert [each[:3] for each in _serve(work).heard] == [("response", "6f1c", b"1")]


@settings(max_examples=50, deadline=None)
@given(rubbish=st.binary(max_size=200), cut=st.integers(0, 120))
def test_no_bytes_whatever_do_harm(rubbish: bytes, cut: int) -> None:
    """Also in the middle of a request; afterwards others are served as before."""

    async def work(api: _Api) -> None:
        bad, good = await api.connect(), await api.connect()
        await bad.send(_request("POST", RESPONSE, b"x" * 40)[:cut] + rubbish)
        assert await good.ask(_request("POST", ERROR, b"1")) == 202
        bad.close()

    assert ("error", "6f1c", b"1") in [each[:3] for each in _serve(work).heard]
