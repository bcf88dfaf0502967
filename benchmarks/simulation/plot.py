"""A picture of what was simulated: environments and waiting invocations over time."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmarks.picture import BLUE, GREEN, GREY, ORANGE, RED, panels, save
from benchmarks.simulation.run import Run, Sample
from benchmarks.simulation.scenarios import BURST
from workers.fleet import RAMP, RAMP_SECONDS


def draw(run: Run, ramp: Run) -> None:
    """Each load of a run, and the ramp of one large host, as results/simulation.png."""
    figure, axes = panels(2, 2)
    for panel, load in zip(axes, run.plan.loads, strict=False):
        functions = len(load.functions)
        title = f"{len(load.calls):,} invocations, {load.name}"
        panel.set_title(title if functions == 1 else f"{title}: {functions} functions")
        _draw_load(panel, run.samples[load.name])
    _draw_ramp(axes[3], ramp.samples["sleeping"])
    axes[0].legend(loc="upper right", frameon=False)
    hosts, environments = len(run.hosts), run.most_environments()
    figure.suptitle(
        f"Simulated: {environments:,} environments over {hosts} hosts, the real scaling code"
    )
    save(figure, "simulation")


def _draw_load(panel: Axes, samples: Sequence[Sample]) -> None:
    times = [each.time for each in samples]
    parts = [[each.busy for each in samples], [each.starting for each in samples]]
    idle = [each.idle for each in samples]
    labels = ["running", "starting", "idle"]
    panel.stackplot(times, *parts, idle, labels=labels, colors=[BLUE, ORANGE, GREEN], alpha=0.75)
    panel.plot(times, [each.waiting for each in samples], color=RED, label="waiting", lw=1.2)
    panel.set_xlabel("simulated seconds")
    panel.set_ylim(bottom=0)
    panel.set_xlim(0, times[-1])


def _draw_ramp(panel: Axes, samples: Sequence[Sample]) -> None:
    shown = [each for each in samples if each.time <= BURST + 25]
    times = [each.time for each in shown]
    allowed = [RAMP * (1 + (time - BURST) / RAMP_SECONDS) for time in times if time >= BURST]
    panel.set_title("One large host, 3,000 sleeping: the ramp")
    panel.plot(times, [each.environments for each in shown], color=BLUE, lw=2)
    panel.plot(times[-len(allowed) :], allowed, color=GREY, ls="--", label="allowed")
    panel.set_xlabel("simulated seconds")
    panel.set_ylabel("environments")
    panel.legend(loc="lower right", frameon=False)
