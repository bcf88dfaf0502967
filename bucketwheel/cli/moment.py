"""Moments on the command line: `2026-11-25T08:00`, or `90m`: so long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGO: Final = re.compile(r"(\d{1,6})([smhd])")


def read_moment(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> datetime | None:
    """ISO 8601, in this machine's time unless it says another; or seconds to days ago."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is no moment: 2026-11-25T08:00, or 90m for so long ago", ctx, parameter
        ) from None
