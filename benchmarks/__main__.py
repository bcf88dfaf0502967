"""`python -m benchmarks [FIGURE ...]`: measure all figures, or those named; `make bench`."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from benchmarks import RESULTS, machine
from benchmarks.progress import say
from benchmarks.row import Row, table

#: Each is a module here with a `measure(data) -> Iterator[Row]`.
FIGURES: Final = (
    "photos_large",
    "photos_small",
    "noop",
    "latency",
    "cold_start",
    "snapshots",
    "runtimes",
    "burst",
    "scaling",
    "celery_autoscale",
    "memory",
    "simulation",
)
#: Part of the processors that others may use before a figure is doubtful.
_QUIET: Final = 0.1


@dataclass(slots=True)
class _Run:
    """What was found so far."""

    rows: list[Row] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: By figure, how busy others kept the machine before or after it.
    busy: dict[str, float] = field(default_factory=dict)


@click.command()
@click.argument("figures", nargs=-1, type=click.Choice(FIGURES))
def main(figures: tuple[str, ...]) -> None:
    """Measure all figures, or those named, each beside its comparison."""
    signal.signal(signal.SIGTERM, _end)
    run, facts = _Run(), machine.facts()
    for figure in figures or FIGURES:
        _measure(run, figure)
    console = Console()
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    console.print(table(run.rows))
    for figure in (each for each, part in run.busy.items() if part > _QUIET):
        console.print(f"{figure}: doubtful, others kept {run.busy[figure]:.0%} of the machine busy")
    console.print(f"kept in {_keep(facts, run)}", style="dim")
    sys.exit(1 if run.failed else 0)


def _measure(run: _Run, figure: str) -> None:
    """Measure a figure; one that cannot be measured does not keep the others from it."""
    busy = machine.busy()
    say(f"[bold]{figure}[/]; others keep {busy:.0%} of the machine busy")
    try:
        with tempfile.TemporaryDirectory(prefix="bucketwheel-bench-") as work:
            measure = importlib.import_module(f"benchmarks.{figure}").measure
            run.rows += measure(Path(work, "data"))
    except Exception as error:
        run.failed.append(figure)
        said = "; ".join([str(error), *getattr(error, "__notes__", ())])
        say(f"[red]{figure} was not measured:[/] {type(error).__name__}: {said}")
    run.busy[figure] = max(busy, machine.busy())


def _keep(facts: dict[str, str], run: _Run) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now():%Y-%m-%d-%H%M%S}.json"
    rows = [each.as_json() for each in run.rows]
    kept = {"facts": facts, "busy with others": run.busy, "failed": run.failed, "rows": rows}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return path


def _end(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
