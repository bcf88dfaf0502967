"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
import orjson


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table; a heading that begins with `>` is a column of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        justify = "right" if head.startswith(">") else "left"
        table.add_column(head.removeprefix(">"), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(str(each)) for each in row))
    # Where nobody looks, nothing is folded at the width of a window.
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def at(moment: datetime) -> str:
    """A moment in this machine's time, as people write it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def trigger(bucket: str, prefix: str, suffixes: Iterable[str]) -> str:
    """A trigger in a few letters: `photos/in/*.jpg`; of many suffixes, the first."""
    first, *others = list(suffixes) or [""]
    shown = "".join(f", *{each}" for each in others[:2])
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    return f"{bucket}/{prefix}*{first}{shown}{more}"
