"""What the demo prints: in colours and with bars on a terminal, else as plain lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from demo import uploads
from demo.crops import size_of
from demo.photos import Album
from demo.reports import Report
from demo.results import Result
from demo.words import by, weight

#: Columns where nobody looks, so that nothing is folded.
_PLAIN_WIDTH: Final = 120

#: `advance(uploaded, finished)`.
Advance = Callable[[int, int], None]


class Screen:
    """Standard output, and standard error for what went wrong."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._errors = Console(stderr=True, highlight=False)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH

    def tell(self, line: str = "") -> None:
        """A line; rich's markup holds in it."""
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def tell_command(self, command: str, seconds: float) -> None:
        """A command that was run."""
        self.tell(f"[bold]$ {escape(command)}[/]  [dim]{seconds:.1f} s[/]")

    def tell_album(self, album: Album) -> None:
        """Which photographs are used, of whom, under which licences."""
        self.tell(f"[bold]{len(album.files)} photographs[/] from {album.source.package}")
        for failure in album.missed:
            self.tell(f"  [yellow]instead of better ones: {escape(failure)}[/]")
        of_author: dict[str, list[str]] = defaultdict(list)
        for photo in album.files:
            of_author[f"{photo.author}, {photo.licence.name}"].append(photo.name)
        for author, names in sorted(of_author.items()):
            self.tell(f"  [dim]{author}: {', '.join(names)}[/]")
        self.tell()

    def tell_fault(self, message: str) -> None:
        """What went wrong."""
        line = f"[bold red]demo:[/] {escape(message)}"
        self._errors.print(line, soft_wrap=not self._errors.is_terminal)

    @contextmanager
    def progress(self, total: int) -> Iterator[Advance]:
        """Two bars, while this lasts."""
        columns = (TextColumn("  {task.description}"), BarColumn(40), MofNCompleteColumn())
        shown = self._console.is_interactive
        with Progress(*columns, console=self._console, disable=not shown, transient=True) as bars:
            uploaded = bars.add_task("uploaded", total=total)
            finished = bars.add_task("finished", total=total)

            def advance(so_far_uploaded: int, so_far_finished: int) -> None:
                bars.update(uploaded, completed=so_far_uploaded)
                bars.update(finished, completed=so_far_finished)

            yield advance

    def show(self, results: Sequence[Result]) -> None:
        """The table of what became of each upload."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        heads = ["photo", ">before", ">", ">after", ">", ">together, ms", ">alone, ms"]
        for head in heads:
            right = head.startswith(">")
            table.add_column(
                head.removeprefix(">"), justify="right" if right else "left", no_wrap=True
            )
        for result in results:
            table.add_row(*map(Text.from_markup, row(result)))
        self._console.print(table)
        self.tell("[dim]cold: the start of a new environment + the crop; warm: the crop[/]\n")
        for line in filter(None, map(remark, results)):
            self.tell(line)
        self.tell()

    def tell_path(self, what: str, path: Path) -> None:
        """Where something is, on one line however long."""
        self._console.print(f"{what}: [bold]{escape(str(path))}[/]", soft_wrap=True)


def row(result: Result) -> list[str]:
    """One line of the table, with rich's markup."""
    upload, crop = result.upload, result.together.crop
    after = ("[yellow]none[/]", "") if crop is None else (_size(crop.data), weight(crop.data))
    return [
        escape(upload.file),
        _size(upload.data),
        weight(upload.data),
        *after,
        _took(result.together.report),
        _took(result.alone.report) if result.alone else "",
    ]


def remark(result: Result) -> str:
    """What is special about a result, if anything is."""
    upload, error = result.upload, result.together.report.error
    if upload.broken and error:
        return f"{upload.file} [yellow]failed alone, as it must[/]: {escape(error)}"
    if upload.lying:
        turned = f"EXIF's orientation {uploads.TURN_CLOCKWISE}; its crop is upright"
        return f"{upload.file} was stored lying, with {turned}."
    return ""


def _size(data: bytes) -> str:
    try:
        return by(size_of(data))
    except OSError:
        return "[red]unreadable[/]"


def _took(report: Report) -> str:
    if report.init_ms is None:
        return f"[green]warm[/] {report.duration_ms:,.0f}"
    return f"[cyan]cold[/] {report.init_ms:,.0f}+{report.duration_ms:,.0f}"
