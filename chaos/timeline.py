"""The timeline: uploads, runs, repeated runs and faults, over time."""

from __future__ import annotations

from pathlib import Path

from chaos.report import verdict
from chaos.trial import Result


def draw(path: Path, result: Result, title: str) -> None:
    """Draw it as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    uploads, runs, faults = result.uploads, result.runs, result.faults
    start = min([*uploads.answered.values(), *(each.began for each in faults)], default=0.0)
    every = runs.all()
    end = max([run.began for run in every] + [each.began for each in faults], default=start) + 1
    figure, (above, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=(12, 8), height_ratios=(3, 4), layout="constrained"
    )
    bins = [float(at) for at in range(int(end - start) + 2)]
    answered = [moment - start for moment in uploads.answered.values()]
    first = [runs.of(key)[0].began - start for key in runs.seen()]
    again = [each.again - start for each in result.account.repeats]
    above.hist(answered, bins, histtype="stepfilled", color="0.85", label="uploads answered 200")
    above.hist(first, bins, histtype="step", color="tab:blue", label="first runs begun")
    above.hist(again, bins, histtype="stepfilled", color="tab:red", label="repeated runs begun")
    above.set_ylabel("per second")
    above.set_title(f"{title}: {verdict(result.account)}", fontsize=9, wrap=True)
    above.legend(loc="upper right")
    kinds = sorted({each.kind for each in faults}, reverse=True)
    for each in faults:
        length = max(0.4, min(each.ended, end) - each.began)
        below.barh(
            kinds.index(each.kind), length, left=each.began - start, color="tab:orange", height=0.5
        )
    below.set_yticks(range(len(kinds)), kinds)
    below.set_ylim(-1, len(kinds))
    below.set_xlabel("seconds")
    below.grid(axis="x", color="0.9")
    below.set_axisbelow(True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
