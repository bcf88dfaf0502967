"""Commands about the system: up, down, env."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from bucketwheel.cli.options import data_option

if TYPE_CHECKING:
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
