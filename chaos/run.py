"""The command: trials as asked for, their table and timeline, and whether promises were kept."""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from chaos import report, timeline, trial
from chaos.faults import full_disk, kinds
from chaos.trial import Trial

#: Seconds in which a fault comes for sure.
SHORTEST: Final = 4.5
#: Characters of the table, wherever it goes.
WIDTH: Final = 110

console: Final = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it as the command line says.

    Returns 1 when a promise was not kept: an upload was lost, or run twice at the same time, or
    again without a fault, or too late; 130 after Ctrl-C.
    """
    options = _options(arguments)
    try:
        kept = [
            _try(each, options.plot.with_stem(options.plot.stem + suffix))
            for suffix, each in _trials(options)
        ]
    except KeyboardInterrupt:
        return 130
    return 0 if all(kept) else 1


def _trials(options: argparse.Namespace) -> Iterator[tuple[str, Trial]]:
    """All kinds of faults; and a full disk, which takes a system of its own, and root."""
    chosen = [each for each in kinds() if options.only in each.name]
    if chosen:
        yield "", Trial(chosen, options.minutes * 60, options.seed, options.rate)
    disk = full_disk()
    if options.only not in disk.name:
        return
    if os.geteuid() == 0:
        yield "-disk", Trial([disk], SHORTEST, options.seed, options.rate, has_small_disk=True)
    else:
        console.print(f"[yellow]left out: {disk.name}, which takes root's rights")


def _try(tried: Trial, plot: Path) -> bool:
    start = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - start:6.1f} s[/]  {line}")

    tell(f"seed {tried.seed}, {tried.seconds:.0f} s of faults, {tried.rate:g} uploads a second")
    result = trial.run(tried, tell)
    timeline.draw(plot, result, f"Seed {tried.seed}")
    Console(highlight=False, width=max(WIDTH, console.width)).print(report.table(result.account))
    console.print(report.verdict(result.account))
    console.print(f"A sweep has found {result.swept} lost ones. The timeline is {plot}.")
    for line in report.details(result.account, start):
        console.print(f"[red]{line}")
    return result.account.is_good


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults")
    parser.add_argument("--rate", type=float, default=50.0, help="uploads per second")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--plot", type=Path, default=Path("chaos.png"))
    return parser.parse_args(arguments)
