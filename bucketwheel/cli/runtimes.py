"""The command `runtimes`: which functions this host can run, and what that needs."""

from __future__ import annotations

import click

from bucketwheel.cli.options import json_option


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def runtimes(context: click.Context, as_json: bool) -> None:
    """List runtimes, and what is missing for others."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from bucketwheel.cli.output import print_json, print_table
    from workers.runtimes.availability import availabilities

    found = availabilities()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        [
            each.runtime,
            each.interpreter or "-",
            f"missing: {each.missing}" if each.missing else each.client,
        ]
        for each in found
    ]
    print_table(["runtime", "interpreter", "client"], rows)


@runtimes.command()
@click.argument("language", required=False, type=click.Choice(["nodejs", "java"]))
def install(language: str | None) -> None:
    """Install AWS's clients for Node.js and Java, or one of them.

    Python's comes with Bucketwheel. Functions for Node.js before 24 need none; those in Go, Rust
    and the like bring their own.
    """
    from workers.runtimes import clients

    def tell(line: str) -> None:
        click.echo(line, err=True)

    if language != "nodejs":
        clients.install_java(tell)
    if language != "java":
        clients.install_nodejs(tell)
