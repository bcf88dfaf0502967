"""Commands about the system: up, down, env, status."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from bucketwheel.cli.options import data_option, json_option

if TYPE_CHECKING:
    from redis import Redis

    from bucketwheel.instance import Instance

#: Seconds that `down` waits: a worker's drain, and each part's own patience.
DOWN: Final = 120.0


@click.command()
@data_option
@click.option("--detach", "-d", is_flag=True, help="Return once everything runs.")
def up(detach: bool) -> None:
    """Start MinIO, Redis, intake, worker and Flower, until Ctrl-C.

    Everything is bound to 127.0.0.1. The ports are settings, 0 is any free one:
    BUCKETWHEEL_S3_PORT (9000), BUCKETWHEEL_CONSOLE_PORT (9001), BUCKETWHEEL_REDIS_PORT (6390),
    BUCKETWHEEL_FLOWER_PORT (5555). A running MinIO or Redis is used when BUCKETWHEEL_S3_ENDPOINT
    (with _S3_ACCESS_KEY and _S3_SECRET_KEY) or BUCKETWHEEL_REDIS_URL names it.
    """
    from bucketwheel.detached import start_detached
    from bucketwheel.settings import UpSettings
    from bucketwheel.up import Up

    settings = UpSettings.read()
    settings.check()
    if detach:
        _welcome(start_detached(settings.data.absolute()), detached=True)
        return
    Up(settings, _tell, _welcome).start()


def _tell(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@data_option
def down() -> None:
    """Stop the system that runs on a folder."""
    from bucketwheel.errors import InstanceError
    from bucketwheel.instance import data_folder, holder, is_running

    data = data_folder()
    pid = holder(data)
    if pid is None:
        click.echo(f"no system runs on {data}", err=True)
        return
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + DOWN
    while is_running(data):
        if time.monotonic() > end:
            raise InstanceError(f"process {pid} has not ended after {DOWN:g} s: see {data}/logs")
        time.sleep(0.05)
    click.echo("stopped")


@click.command()
@data_option
def env() -> None:
    """Print variables for AWS's tools.

    eval "$(bucketwheel env)" has aws, boto3 and others reach this system.
    """
    from bucketwheel.instance import Instance, data_folder

    found = Instance.find()
    variables = {
        "AWS_ENDPOINT_URL_S3": found.s3_endpoint,
        "AWS_ACCESS_KEY_ID": found.user_access_key,
        "AWS_SECRET_ACCESS_KEY": found.user_secret_key,
        "AWS_REGION": found.s3_region,
        "BUCKETWHEEL_DATA": str(data_folder()),
    }
    for name, value in variables.items():
        click.echo(f"export {name}={_quoted(value)}")


def _quoted(value: str) -> str:
    """As every shell reads it: always in quotes."""
    return "'" + value.replace("'", "'\\''") + "'"


@click.command()
@data_option
@json_option
def status(as_json: bool) -> None:
    """Show workers, and what waits, runs and failed."""
    from broker.connection import connect
    from broker.settings import BrokerSettings
    from bucketwheel.cli.output import print_json
    from bucketwheel.instance import fill_environment
    from storage.functions import FunctionStore
    from storage.settings import StorageSettings

    fill_environment()
    redis = connect(BrokerSettings.read())
    found = _status(redis, sorted(FunctionStore(StorageSettings.read()).all()))
    if as_json:
        print_json(found)
    else:
        _show(found)


def _status(redis: Redis, functions: list[str]) -> dict[str, Any]:
    from broker import keys
    from broker.counters import known_queues, overview, workers_alive

    # The platform's own, and those that are gone: shown only while there is something to see.
    others = {keys.DEPLOY, keys.INTAKE, keys.WORKER, *known_queues(redis)}.difference(functions)
    remarkable = [
        each
        for each in overview(redis, sorted(others))
        if each.queued or each.running or each.retrying or each.failed or each.dead
    ]
    return {
        "workers": workers_alive(redis),
        "events_waiting": redis.llen(keys.EVENTS),
        "functions": [asdict(each) for each in [*overview(redis, functions), *remarkable]],
    }


def _show(found: dict[str, Any]) -> None:
    from bucketwheel.cli.output import print_table

    workers = ", ".join(found["workers"]) or "none: nothing runs until one is started"
    click.echo(f"workers         {workers}")
    click.echo(f"events waiting  {found['events_waiting']}")
    if not found["functions"]:
        click.echo("functions       none: bucketwheel deploy PATH adds some")
        return
    click.echo()
    counts = ("queued", "running", "retrying", "succeeded", "failed", "dead", "cold_starts")
    heads = ["function", *(f">{each.replace('_', ' ')}" for each in counts), ">oldest s"]
    rows = [
        [each["function"], *(each[count] for count in counts), f"{each['oldest']:.0f}"]
        for each in found["functions"]
    ]
    print_table(heads, rows)
    for each in found["functions"]:
        if each["last_error"]:
            click.echo(f"last error of {each['function']}: {each['last_error']}")


def _welcome(found: Instance, detached: bool = False) -> None:
    """The first screen: what runs where, and what to do next."""
    lines = [("S3 endpoint", found.s3_endpoint)]
    lines += [("MinIO console", found.console_url)] if found.console_url else []
    lines += [("Flower", found.flower_url)] if found.flower_url else []
    next_steps = [
        ('eval "$(bucketwheel env)"', "credentials for aws, boto3, mc"),
        ("bucketwheel deploy app.py", "your functions"),
        ("bucketwheel status", "what waits, runs, failed"),
    ]
    stop = "bucketwheel down" if detached else "Ctrl-C"
    if not sys.stdout.isatty():
        for name, text in [*lines, ("stop with", stop)]:
            click.echo(f"{name}: {text}")
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    for name, text in lines:
        table.add_row(f"  [bold]{name}[/]", f"[cyan]{text}[/]")
    table.add_row()
    for command, why in next_steps:
        table.add_row(f"  {command}", f"[dim]{why}[/]")
    console = Console(highlight=False)
    console.print("\n[bold green]Bucketwheel is running.[/]\n")
    console.print(table)
    console.print(f"\n  [dim]Stop with {stop}. Commands work in this folder, or with --data.[/]\n")
