"""Figures as people read them."""

from __future__ import annotations


def by(size: tuple[int, int]) -> str:
    """Width and height: `800×600`."""
    return f"{size[0]}×{size[1]}"


def weight(data: bytes) -> str:
    """How large a file is: `1.5 MB`, `86 kB`."""
    size = len(data)
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


def milliseconds(value: float) -> str:
    """`1,331 ms`."""
    return f"{value:,.0f} ms"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, noun: str) -> str:
    """`1 file`, `12 files`, `no files`."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
