"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _use_data(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ["BUCKETWHEEL_DATA"] = os.path.abspath(value)


def data_option(command: F) -> F:
    """`--data DIR`: the same as the variable BUCKETWHEEL_DATA."""
    return click.option(
        "--data",
        metavar="DIR",
        callback=_use_data,
        expose_value=False,
        is_eager=True,
        help="Folder of the system.  [env: BUCKETWHEEL_DATA; default: .bucketwheel]",
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

timeout_option = click.option(
    "--timeout", default=300.0, show_default=True, help="Seconds to wait in silence."
)


def tell(line: str) -> None:
    """Tell a step, on standard error: standard output is for results."""
    click.echo(line, err=True)
