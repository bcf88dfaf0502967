"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from storage.configuration import FunctionConfiguration, FunctionDeclaration


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table; a heading that begins with `>` is a column of numbers."""
    print_any(table(heads, rows))


def print_any(drawn: RenderableType) -> None:
    """What was drawn; where nobody looks, nothing is folded at the width of a window."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 400).print(drawn)


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> RenderableType:
    """A table to be printed; a heading that begins with `>` is a column of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        justify = "right" if head.startswith(">") else "left"
        drawn.add_column(head.removeprefix(">"), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        drawn.add_row(*(Text(str(each)) for each in row))
    return drawn


def at(moment: datetime) -> str:
    """A moment in this machine's time, as people write it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def sources(function: FunctionDeclaration | FunctionConfiguration) -> str:
    """What invokes a function beside hands, in a few letters; empty: nothing."""
    triggers = [trigger(each.bucket, each.prefix, each.suffixes) for each in function.triggers]
    return "; ".join([*triggers, *(each.expression for each in function.schedules)])


def trigger(bucket: str, prefix: str, suffixes: Iterable[str]) -> str:
    """A trigger in a few letters: `photos/in/*.jpg`; of many suffixes, the first."""
    first, *others = list(suffixes) or [""]
    shown = "".join(f", *{each}" for each in others[:2])
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    return f"{bucket}/{prefix}*{first}{shown}{more}"
