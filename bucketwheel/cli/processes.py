"""Commands that are the system's own processes: intake, worker, flower; `up` starts them."""

from __future__ import annotations

import click

from bucketwheel.cli.options import data_option


@click.command()
@data_option
def intake() -> None:
    """Run an intake, which moves events into function queues.

    Any number may run.
    """
    from bucketwheel.parts.intake import run

    _prepare()
    run()


@click.command()
@data_option
def worker() -> None:
    """Run this host's worker, which runs functions.

    One for each host.
    """
    from bucketwheel.parts.worker import run

    _prepare()
    run()


@click.command()
@data_option
def flower() -> None:
    """Run Flower, which shows workers and invocations.

    It listens on 127.0.0.1, at BUCKETWHEEL_FLOWER_PORT (5555). With BUCKETWHEEL_FLOWER_PASSWORD it
    asks for that, and for the user `bucketwheel`; BUCKETWHEEL_FLOWER_ADDRESS may then be another.
    """
    from bucketwheel.parts.flower import run

    _prepare()
    run()


@click.command()
@data_option
@click.argument("part", type=click.Choice(["intake", "worker", "flower"]))
def alive(part: str) -> None:
    """Say whether this host's intake, worker or Flower is at work.

    For health checks: exits with status 1 when it is not.
    """
    from bucketwheel.health import is_at_work
    from bucketwheel.instance import fill_environment

    fill_environment()
    if not is_at_work(part):
        click.echo(f"{part} is not at work on this host", err=True)
        raise SystemExit(1)
    click.echo(f"{part} is at work")


def _prepare() -> None:
    """Settings from the running instance where variables are missing; a log on standard error."""
    import logging

    from bucketwheel.instance import fill_environment

    fill_environment()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level="WARNING")
    logging.getLogger("bucketwheel").setLevel("INFO")
