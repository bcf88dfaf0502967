"""Cold starts in other languages: one environment more, to handler entered, in Node and Go.

Each beside a fresh process of the same: Node that loads the function's module, Go's own program.
A language whose tools this machine lacks is told, and left out.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.progress import say
from benchmarks.row import Row
from benchmarks.starts import fresh, one_more
from benchmarks.system import FUNCTIONS, system

#: Part of a fresh process's time: the language starts as ever, and we add little.
GOAL: Final = 1.5
_NODE: Final = FUNCTIONS / "node_stay"
_GO: Final = FUNCTIONS / "go_stay"


def measure(data: Path) -> Iterator[Row]:
    """Measure Node, then Go."""
    with system(data, BUCKETWHEEL_MEMORY="65536") as running:
        if _has("node"):
            running.deploy(_NODE)
            yield _row("Node", one_more(running, "node-stay"), fresh(_node()))
        if _has("go"):
            running.deploy(_GO)
            yield _row("Go", one_more(running, "go-stay"), fresh([_built(data.parent / "go")]))


def _has(program: str) -> bool:
    found = shutil.which(program) is not None
    if not found:
        say(f"[red]{program} is not installed: its cold start is not measured[/]")
    return found


def _node() -> list[str]:
    code = f"import '{_NODE / 'index.mjs'}';"
    tell = "console.log((performance.timeOrigin + performance.now()) / 1000)"
    return ["node", "--input-type=module", "--eval", code + tell]


def _built(program: Path) -> str:
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=_GO, check=True, timeout=300)
    return str(program)


def _row(language: str, ours: float, theirs: float) -> Row:
    say(f"{language}: {ours:.1f} ms, {theirs:.1f} fresh")
    comparison, ratio = f"{theirs:.1f} ms, a fresh process of the same", ours / theirs
    what = f"cold start, {language}"
    return Row(what, f"{ours:.1f} ms", comparison, ratio, f"≤ {GOAL:g}", ratio <= GOAL)
