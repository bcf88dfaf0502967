"""Commands about functions: deploy, functions, invoke, logs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bucketwheel.cli.options import data_option, json_option, tell, timeout_option

if TYPE_CHECKING:
    from broker.logs import LogEntry


def _variable(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> object:
    variables = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise click.BadParameter(f"{value!r} must be NAME=VALUE", ctx, parameter)
        variables[name] = text
    return variables


@click.command()
@data_option
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--env",
    "environment",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_variable,
    help="An environment variable for every function of the package; may be repeated.",
)
@click.option(
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_variable,
    help="A value for a parameter of the template; may be repeated.",
)
@timeout_option
def deploy(
    path: Path, environment: dict[str, str], parameters: dict[str, str], timeout: float
) -> None:
    """Deploy functions: a file, a folder or a template.

    A Python file or folder declares them by @function, an AWS SAM template.yaml in its Resources.
    What the code needs is built into the package first: requirements.txt by pip, and for a
    template's functions package.json by npm, go.mod by Go, pom.xml by Maven, or a Makefile. Until
    the new version is active, and whenever it cannot be, the one before goes on serving.
    """
    from bucketwheel.cli.output import sources
    from bucketwheel.deploy import Deploy
    from bucketwheel.instance import fill_environment

    fill_environment()
    for function in Deploy(tell).run(path, environment, timeout, parameters):
        by = sources(function) or "invoked by hand"
        click.echo(f"{function.name} version {function.version}: {by}")


@click.command("functions")
@data_option
@json_option
def list_functions(as_json: bool) -> None:
    """List the functions that are deployed."""
    from bucketwheel.cli.output import at, print_json, print_table, sources
    from bucketwheel.instance import fill_environment
    from storage.functions import FunctionStore
    from storage.settings import StorageSettings

    fill_environment()
    found = [each for _, each in sorted(FunctionStore(StorageSettings.read()).all().items())]
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    if not found:
        click.echo("none: bucketwheel deploy PATH adds some", err=True)
        return
    rows = [
        [
            each.name,
            each.version,
            each.runtime,
            sources(each) or "-",
            f"{each.memory:,}",
            each.timeout,
            at(each.deployed_at),
        ]
        for each in found
    ]
    heads = ["function", ">version", "runtime", "triggers", ">MB", ">timeout s", "deployed"]
    print_table(heads, rows)


@click.command()
@data_option
@click.argument("name")
@click.option("--payload", default="{}", metavar="JSON|@FILE|-", help="The event.  [default: {}]")
@click.option("--async", "asynchronous", is_flag=True, help="Print the invocation id at once.")
@click.option("--timeout", type=float, help="Seconds to wait for the response.")
def invoke(name: str, payload: str, asynchronous: bool, timeout: float | None) -> None:
    """Run a function with an event; prints its response.

    The event is JSON: given as it is, read from @FILE, or from standard input with -.
    A function's error goes to standard error, and the exit status is 1.
    """
    from bucketwheel import calls

    event = _payload(payload)
    if asynchronous:
        click.echo(calls.enqueue(name, event))
        return
    sys.stdout.buffer.write(calls.respond(name, event, timeout) + b"\n")
    sys.stdout.buffer.flush()


def _payload(given: str) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read()
    if not given.startswith("@"):
        return given.encode("utf-8", "surrogateescape")
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{given[1:]}: {error.strerror}", param_hint="--payload") from None


@click.command()
@data_option
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each entry.")
def logs(name: str, follow: bool, as_json: bool) -> None:
    """Show what a function's invocations logged."""
    from broker.connection import connect
    from broker.logs import FunctionLogs
    from broker.settings import BrokerSettings
    from bucketwheel.instance import fill_environment

    fill_environment()
    found = FunctionLogs(connect(BrokerSettings.read()))
    entries = found.read(name)
    if not entries and not name.startswith("bucketwheel:"):
        _must_exist(name)
    for entry in entries:
        _print(entry, as_json)
    if follow:
        for entry in found.follow(name, after=entries[-1].id if entries else "0"):
            _print(entry, as_json)


def _must_exist(name: str) -> None:
    """Tell a name nobody has from a function that has not run.

    Raises:
        FunctionNotFound: no function of that name is deployed.
    """
    from storage.functions import FunctionStore
    from storage.settings import StorageSettings

    FunctionStore(StorageSettings.read()).load(name)
    click.echo(f"{name} has logged nothing yet", err=True)


def _print(entry: LogEntry, as_json: bool) -> None:
    if not as_json:
        click.echo(entry.text)
        return
    import orjson

    line = {"id": entry.id, "at": entry.at.isoformat(), "text": entry.text}
    click.echo(orjson.dumps(line).decode())
