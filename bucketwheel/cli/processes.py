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
    from bucketwheel.parts import run_intake

    _prepare()
    run_intake()


@click.command()
@data_option
def worker() -> None:
    """Run this host's worker, which runs functions.

    One for each host.
    """
    from bucketwheel.parts import run_worker

    _prepare()
    run_worker()


@click.command()
@data_option
def flower() -> None:
    """Run Flower, which shows workers and invocations.

    It listens on 127.0.0.1, at BUCKETWHEEL_FLOWER_PORT (5555).
    """
    from bucketwheel.parts import run_flower

    _prepare()
    run_flower()


def _prepare() -> None:
    """Settings from the running instance where variables are missing; a log on standard error."""
    import logging

    from bucketwheel.instance import fill_environment

    fill_environment()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level="WARNING")
    logging.getLogger("bucketwheel").setLevel("INFO")
