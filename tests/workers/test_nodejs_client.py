"""The client for Node.js: a process against a real Runtime API, as a function's author sees it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.invocation import Invocation
from storage.configuration import FunctionConfiguration
from tests.conftest import DEADLINE, absent
from workers import contract
from workers.runtime_api import Connection
from workers.runtimes.nodejs import OURS, nodes
from workers.sandbox import EnvironmentSpec, Sandbox

#: Seconds of an invocation.
TIMEOUT = 60


@dataclass
class _Environment:
    """Hands out invocations, and writes down what it hears."""

    sandbox: Sandbox
    events: list[Any]
    #: By kind: the decoded body, and the headers with trailers.
    heard: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def on_next(self, connection: Connection) -> None:
        if not self.events:
            self.idle.set()
            return
        invocation = Invocation(f"id-{len(self.heard)}", "f", b"", attempt=1)
        headers = contract.headers(invocation, self.sandbox.spec, TIMEOUT)
        connection.send(200, json.dumps(self.events.pop(0)).encode(), headers)

    def on_response(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        self.heard.append(("response", body, headers))
        return 202

    def on_error(self, id: str, body: bytes, headers: dict[str, str]) -> int:
        self.heard.append(("error", body, headers))
        return 202

    def on_too_large(self, id: str) -> None:
        self.heard.append(("too large", b"", {}))

    def on_init_error(self, body: bytes, headers: dict[str, str]) -> int:
        self.heard.append(("init error", body, headers))
        return 202


@dataclass
class _Run:
    """What came of it."""

    heard: list[tuple[str, Any, dict[str, str]]]
    #: None: it waited for its next invocation.
    status: int | None
    output: str

    @property
    def responses(self) -> list[Any]:
        assert {kind for kind, _, _ in self.heard} == {"response"}, (self.heard, self.output)
        return [json.loads(body) for _, body, _ in self.heard]

    @property
    def error(self) -> dict[str, Any]:
        ((kind, body, headers),) = self.heard
        assert "error" in kind
        told: dict[str, Any] = json.loads(body)
        type = told["errorType"].encode("ascii", "replace").decode()
        assert headers["lambda-runtime-function-error-type"] == type
        return told


def _run(folder: Path, *events: Any, handler: str = "app.handler", **files: str) -> _Run:
    """Run a function until it has had these events or has ended; `__` in a name is a dot."""
    found = nodes()
    if not found:
        absent("Node.js is not on PATH: install it")
    for name, text in files.items():
        path = folder / "code" / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sandbox = _sandbox(folder, handler)
    return asyncio.run(_serve(next(iter(found)), sandbox, list(events)))


def _sandbox(folder: Path, handler: str) -> Sandbox:
    """As a worker that does not isolate has it."""
    configuration = FunctionConfiguration(
        name="f",
        runtime="nodejs20.x",
        handler=handler,
        timeout=TIMEOUT,
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )
    layers = folder / "layers" if (folder / "layers").is_dir() else None
    spec = EnvironmentSpec("e1", configuration, folder / "code", layers, {})
    opt = str(layers or folder / "opt")
    return Sandbox(spec, str(folder / "code"), opt, str(folder))


async def _serve(node: Path, sandbox: Sandbox, events: list[Any]) -> _Run:
    environment = _Environment(sandbox, events)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(environment), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            str(node),
            str(OURS),
            env={**os.environ, **contract.variables(sandbox, port, "on-demand")},
            cwd=sandbox.task_root,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ends = [
            asyncio.ensure_future(process.wait()),
            asyncio.ensure_future(environment.idle.wait()),
        ]
        await asyncio.wait(ends, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        status = process.returncode
        if status is None:
            process.kill()
        output, _ = await process.communicate()
        await asyncio.gather(*(each for each in ends if each.cancel()), return_exceptions=True)
        return _Run(environment.heard, status, output.decode())


ANSWERS = {
    "returned by an async function": "async (event) => ({ got: event })",
    "a promise": "(event) => new Promise((resolve) => setTimeout(resolve, 1, { got: event }))",
    "given to the callback": "(event, context, callback) => callback(null, { got: event })",
    "given to the callback later":
        "(event, context, callback) => void setTimeout(callback, 1, null, { got: event })",
    "succeed": "(event, context) => context.succeed({ got: event })",
    "done": "(event, context) => { context.done(null, { got: event }); }",
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_may_come_in_any_way_lambda_knows(tmp_path: Path, name: str) -> None:
    """Up to Node.js 22, callbacks are among them; the next invocation finds the same process."""
    run = _run(tmp_path, {"n": 1}, "two", app__js=f"exports.handler = {ANSWERS[name]}")

    assert run.responses == [{"got": {"n": 1}}, {"got": "two"}]
    assert run.status is None


FORMS = {
    "CommonJS": ("app.handler", {"app__js": "exports.handler = async () => 1"}),
    "module.exports": ("app.handler", {"app__cjs": "module.exports = { handler: async () => 1 }"}),
    "ES module": ("app.handler", {"app__mjs": "export const handler = async () => 1"}),
    "ES module by its package": (
        "app.handler",
        {"app__js": "export const handler = async () => 1", "package__json": '{"type": "module"}'},
    ),
    "default export": ("app.handler", {"app__mjs": "export default { handler: async () => 1 }"}),
    "top-level await": (
        "app.handler",
        {"app__mjs": "const one = await 1; export const handler = async () => one"},
    ),
    "in a folder": ("src/lib/app.handler", {"src/lib/app__js": "exports.handler = async () => 1"}),
    "in an object": ("app.all.crop", {"app__js": "exports.all = { crop: async () => 1 }"}),
    "an index in a folder": ("app.handler", {"app/index__js": "exports.handler = async () => 1"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_handler_is_found_in_every_form_of_module(tmp_path: Path, name: str) -> None:
    """As AWS's client finds it."""
    handler, files = FORMS[name]

    assert _run(tmp_path, {}, handler=handler, **files).responses == [1]


BROKEN = {
    "no such module": (
        "app.handler", {"other__js": ""}, "Runtime.ImportModuleError",
        "Error: Cannot find module 'app'",
    ),
    "a module that lacks another": (
        "app.handler", {"app__js": "require('absent')"}, "Runtime.ImportModuleError",
        "Error: Cannot find module 'absent'",
    ),
    "no such export": (
        "app.handler", {"app__js": "exports.other = 1"}, "Runtime.HandlerNotFound",
        "app.handler is undefined or not exported",
    ),
    "no function": (
        "app.handler", {"app__js": "exports.handler = 1"}, "Runtime.HandlerNotFound",
        "app.handler is not a function",
    ),
    "no JavaScript": (
        "app.handler", {"app__js": "exports.handler = ("}, "Runtime.UserCodeSyntaxError",
        "SyntaxError: Unexpected end of input",
    ),
    "no name": ("app", {"app__js": ""}, "Runtime.MalformedHandlerName", "Bad handler"),
    "a way out": (
        "../app.handler", {"app__js": ""}, "Runtime.MalformedHandlerName",
        "'../app.handler' is not a valid handler name. Use absolute paths when specifying root"
        " directories in handler names.",
    ),
    "an error of its own": (
        "app.handler", {"app__js": "throw new RangeError('too far')"}, "RangeError", "too far",
    ),
    "nobody catches it": (
        "app.handler", {"app__js": "Promise.reject(new Error('x')); exports.handler = () => 1"},
        "Runtime.UnhandledPromiseRejection", "Error: x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_failed_initialisation_is_told_in_awss_words(tmp_path: Path, name: str) -> None:
    """To the Runtime API and in the log; then the process ends."""
    handler, files, kind, message = BROKEN[name]
    run = _run(tmp_path, handler=handler, **files)

    assert run.heard[0][0] == "init error"
    assert (run.error["errorType"], run.error["errorMessage"].splitlines()[0]) == (kind, message)
    assert run.status in (128, 129)
    assert f'"errorType":"{kind}"' in run.output


FAILURES = {
    "thrown": ("() => { throw new TypeError('no') }", "TypeError", "no"),
    "rejected": ("async () => { throw new TypeError('no') }", "TypeError", "no"),
    "given to the callback": ("(e, c, back) => back(new TypeError('no'))", "TypeError", "no"),
    "a text": ("async () => { throw 'no' }", "string", "no"),
    "fail": ("(event, context) => context.fail(new TypeError('no'))", "TypeError", "no"),
    "fail with nothing": ("(event, context) => context.fail()", "string", "handled"),
    "of a class of its own": (
        "async () => { class Odd extends Error { name = 'Odd' } throw new Odd('no') }", "Odd", "no",
    ),
    "of an odd name": (
        "async () => { throw Object.assign(new Error('no'), { name: 'Größe' }) }", "Größe", "no",
    ),
    "of no name": (
        "async () => { throw Object.assign(new Error('no'), { name: undefined }) }",
        "undefined", "no",
    ),
    "no JSON": ("async () => 1n", "Error", "Unable to stringify response body"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_an_error_is_told_in_awss_words(tmp_path: Path, name: str) -> None:
    """With its trace; the process goes on."""
    handler, kind, message = FAILURES[name]
    run = _run(tmp_path, {}, app__js=f"exports.handler = {handler}")

    assert (run.error["errorType"], run.error["errorMessage"]) == (kind, message)
    assert (
        any("app.js" in line for line in run.error["trace"]) or kind == "string" or "1n" in handler
    )
    assert "ERROR\tInvoke Error \t{" in run.output
    assert run.status is None


@pytest.mark.parametrize(
    ("handler", "kind", "status"),
    [
        ("() => new Promise(() => setTimeout(() => { throw new Error('late') }))", "Error", 129),
        ("() => new Promise((done) => { Promise.reject('late'); setTimeout(done, 99999) })",
         "Runtime.UnhandledPromiseRejection", 128),
    ],
)  # fmt: skip
def test_an_error_that_nobody_catches_ends_the_process(
    tmp_path: Path, handler: str, kind: str, status: int
) -> None:
    """After it was told as the invocation's: nothing can be known of such a process."""
    run = _run(tmp_path, {}, app__js=f"exports.handler = {handler}")

    assert (run.heard[0][0], run.error["errorType"]) == ("error", kind)
    assert run.error["errorMessage"] == "late"
    assert run.status == status


def test_a_callback_waits_until_the_event_loop_is_empty(tmp_path: Path) -> None:
    """Unless its context says otherwise; then what was begun goes on later."""
    code = """
        let done = 0;
        exports.handler = (event, context, callback) => {
          context.callbackWaitsForEmptyEventLoop = event.waits;
          setTimeout(() => { done += 1; }, 50);
          callback(null, { get done() { return done; } });
          callback(new Error("only the first call counts"));
        };
    """
    assert _run(tmp_path, {"waits": True}, app__js=code).responses == [{"done": 1}]
    assert _run(tmp_path, {"waits": False}, app__js=code).responses == [{"done": 0}]


def test_a_handler_that_answers_nothing_answers_null(tmp_path: Path) -> None:
    """Once nothing is left that could."""
    for handler in ("() => {}", "async () => {}", "async () => { await new Promise(() => {}) }"):
        assert _run(tmp_path, {}, app__js=f"exports.handler = {handler}").responses == [None]


def test_the_context_has_every_field(tmp_path: Path) -> None:
    """By the names of https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html."""
    code = """
        const trace = () => process.env._X_AMZN_TRACE_ID;
        exports.handler = async (event, context) => (
          { ...context, left: context.getRemainingTimeInMillis(), trace: trace() }
        );
    """
    (found,) = _run(tmp_path, {}, app__js=code).responses

    assert 0 < found.pop("left") <= 60_000
    assert found.pop("trace").startswith("Root=1-")
    assert found.pop("logStreamName").endswith("[1]e1")
    assert found == {
        "awsRequestId": "id-0",
        "callbackWaitsForEmptyEventLoop": True,
        "functionName": "f",
        "functionVersion": "1",
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "logGroupName": "/aws/lambda/f",
        "memoryLimitInMB": "128",
    }


def test_a_printed_line_has_time_request_and_level(tmp_path: Path) -> None:
    """Tab separated; a line of its own for each call, whatever was in it."""
    code = """
        console.log("begun");
        exports.handler = async () => {
          console.log("a %s", "b", { c: 1 }); console.warn("two\\nlines"); console.debug("fine");
        };
    """
    lines = [line.split("\t") for line in _run(tmp_path, {}, app__js=code).output.splitlines()]

    assert [line[1:] for line in lines if len(line) == 4] == [
        ["undefined", "INFO", "begun"],
        ["id-0", "INFO", "a b { c: 1 }"],
        ["id-0", "WARN", "two"],
        ["id-0", "DEBUG", "fine"],
    ]
    assert ["lines"] in lines
    assert all(line[0].endswith("Z") for line in lines if len(line) == 4)


def _streamed(body: str) -> str:
    return f"exports.handler = awslambda.streamifyResponse(async (event, stream) => {{{body}}})"


def test_a_response_may_be_streamed(tmp_path: Path) -> None:
    """In chunks, as they are written; objects as JSON."""
    code = _streamed(
        "stream.setContentType('text/plain'); stream.write('[1,'); stream.write({ a: 2 });"
        " stream.write(Buffer.from(']')); stream.end()"
    )
    run = _run(tmp_path, {}, {}, app__js=code)

    assert run.responses == [[1, {"a": 2}], [1, {"a": 2}]]
    assert run.heard[0][2]["content-type"] == "text/plain"
    assert run.heard[0][2]["lambda-runtime-function-response-mode"] == "streaming"
    assert run.heard[0][2]["transfer-encoding"] == "chunked"


def test_a_pipeline_may_end_in_a_response(tmp_path: Path) -> None:
    """Node's own streams take it for one of theirs, and back-pressure holds."""
    code = """
        const { pipeline } = require("node:stream/promises");
        const { Readable } = require("node:stream");
        exports.handler = awslambda.streamifyResponse(async (event, stream) => {
          const parts = Readable.from(Array.from({ length: 3000 }, () => "x".repeat(1000)));
          await pipeline(parts, stream);
        });
    """
    ((kind, body, _),) = _run(tmp_path, {}, app__js=code).heard

    assert (kind, len(body)) == ("response", 3_000_000)


def test_an_http_response_is_streamed_behind_its_head(tmp_path: Path) -> None:
    """Status and headers, eight zero bytes, the body: as function URLs read it."""
    code = _streamed(
        "stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201 });"
        " stream.write('made'); stream.end()"
    )
    ((kind, body, headers),) = _run(tmp_path, {}, app__js=code).heard

    assert (kind, body) == ("response", b'{"statusCode":201}' + bytes(8) + b"made")
    assert headers["content-type"] == "application/vnd.awslambda.http-integration-response"


def test_a_failure_in_mid_stream_is_told_behind_it(tmp_path: Path) -> None:
    """In trailers, since the head has gone; the next invocation is served."""
    code = _streamed("stream.write('[1,'); throw new RangeError('no more')")
    run = _run(tmp_path, {}, {}, app__js=code)

    assert [body for _, body, _ in run.heard] == [b"[1,", b"[1,"]
    assert run.heard[0][2]["lambda-runtime-function-error-type"] == "RangeError"
    assert run.status is None


def test_six_megabytes_go_in_and_out(tmp_path: Path) -> None:
    """What Lambda allows; what is more is refused, and the process goes on."""
    code = "exports.handler = async (event) => event.n ? 'x'.repeat(event.n) : event"
    text = "ü" * 2_500_000
    run = _run(tmp_path, text, {"n": 7_000_000}, "last", app__js=code)

    assert [kind for kind, _, _ in run.heard] == ["response", "too large", "response"]
    assert json.loads(run.heard[0][1]) == text
    assert json.loads(run.heard[2][1]) == "last"


def test_modules_of_layers_are_found(tmp_path: Path) -> None:
    """Below /opt/nodejs, with a folder for each version."""
    for place, text in (("node20/node_modules", "20"), ("node_modules", "any")):
        module = tmp_path / "layers" / "nodejs" / place / f"of-{text}"
        module.mkdir(parents=True)
        (module / "index.js").write_text(f"module.exports = '{text}'")
    code = "exports.handler = async () => [require('of-20'), require('of-any')]"

    assert _run(tmp_path, {}, app__js=code).responses == [["20", "any"]]
