"""The autoscaler against the best fixed concurrency that a sweep finds, on four kinds of work.

Both in one worker, on the same environments: held to a fixed number at work by `pool_grow` and
`pool_shrink`, with its view of the processors switched off, since that is what is on trial; then
free, as it comes. Before each a round that starts the environments. The autoscaler is measured
before the sweep and after it, so that a machine that grows slower favours neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.picture import BLUE, ORANGE, panels, save
from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.second_worker import SecondWorker, second_worker
from benchmarks.system import FUNCTIONS, System, system
from benchmarks.work import ALL, Work, ours

#: Rounds of each concurrency, and of the autoscaler before and after.
ROUNDS: Final = 2
GOAL: Final = 0.95


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Invocations a second."""

    work: Work
    fixed: dict[int, float]
    free: float

    @property
    def best(self) -> int:
        """The fixed concurrency that did most."""
        return max(self.fixed, key=lambda each: self.fixed[each])


def measure(data: Path) -> Iterator[Row]:
    """Sweep each kind of work; draw them all."""
    with system(data) as running:
        running.deploy(FUNCTIONS / "work")
        with second_worker(running, data.parent / "second") as worker:
            sweeps = [_sweep(running, worker, each) for each in ALL]
    _draw(sweeps)
    yield from map(_row, sweeps)


def _row(sweep: _Sweep) -> Row:
    best = sweep.fixed[sweep.best]
    return Row(
        what=f"autoscaler, {sweep.work.name} work",
        ours=f"{sweep.free:.1f}/s",
        comparison=f"{best:.1f}/s at the best fixed concurrency, {sweep.best}",
        ratio=sweep.free / best,
        goal=f"≥ {GOAL:g}",
        reached=sweep.free / best >= GOAL,
    )


def _sweep(running: System, worker: SecondWorker, work: Work) -> _Sweep:
    free = [_free(running, worker, work)]
    fixed = {each: _fixed(running, worker, work, each) for each in work.sweep}
    free.append(_free(running, worker, work))
    return _Sweep(work, fixed, max(free))


def _free(running: System, worker: SecondWorker, work: Work) -> float:
    worker.scale_freely()
    found = max(ours(running, work, work.count) for _ in range(ROUNDS))
    say(f"{work.name}, autoscaler: {found:.1f}/s")
    return found


def _fixed(running: System, worker: SecondWorker, work: Work, concurrency: int) -> float:
    worker.fix(concurrency)
    ours(running, work, concurrency)  # starts what is missing
    count = work.some(concurrency)
    found = max(ours(running, work, count) for _ in range(ROUNDS))
    say(f"{work.name}, {concurrency} at once: {found:.1f}/s")
    return found


def _draw(sweeps: list[_Sweep]) -> None:
    figure, axes = panels(2, 2)
    for panel, sweep in zip(axes, sweeps, strict=True):
        panel.set_title(f"{sweep.work.name} work")
        rates = list(sweep.fixed.values())
        panel.plot(list(sweep.fixed), rates, "o-", color=BLUE, label="fixed concurrency")
        panel.axhline(sweep.free, color=ORANGE, lw=2, label="autoscaler")
        panel.set_xscale("log", base=2)
        panel.set_xticks(list(sweep.fixed), [str(each) for each in sweep.fixed])
        panel.set_xlabel("environments at work")
        panel.set_ylabel("invocations a second")
        panel.set_ylim(0, 1.1 * max(sweep.free, *rates))
    axes[0].legend(loc="lower right", frameon=False)
    figure.suptitle("The autoscaler beside every fixed concurrency")
    save(figure, "scaling")
