"""Commands that list what is stored, and run functions for it: sweep, replay."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from bucketwheel.cli.moment import read_moment
from bucketwheel.cli.options import data_option, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from broker.late_events import Functions, Progress
    from broker.replay import Replay, Selection
    from broker.settings import BrokerSettings
    from storage.settings import StorageSettings

since_option = click.option(
    "--since",
    callback=read_moment,
    metavar="TIME",
    help="Written since then: 2026-11-25T08:00, or 90m for so long ago.",
)
dry_option = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")


@click.command()
@data_option
@click.argument("bucket")
@click.option("--prefix", default="", help="Only keys that begin so.")
@since_option
@dry_option
def sweep(bucket: str, prefix: str, since: datetime | None, dry_run: bool) -> None:
    """Run functions for uploads that nobody was told of.

    It lists what the functions' triggers are for, and enqueues what no invocation is known to have
    handled.
    Without --since it looks as far back as handled objects are remembered. Further back it cannot
    know: all that was written before counts as not handled. It can be interrupted and repeated.
    """
    from broker.sweep import Scope, Sweep
    from broker.watch_state import WatchState

    reach = _reach()
    state = WatchState.read(reach[0])
    if state is None and since is None:
        raise click.UsageError("nothing is remembered yet: say with --since how far to look back")
    remembered = state.remembered if state else datetime.now(UTC)
    if since is not None and since < remembered:
        tell(f"what was written before {_at(remembered)} counts as not handled")
    scope = Scope(since or remembered, bucket, prefix, with_older=since is not None)
    done = _follow(Sweep(*reach).run(scope, dry_run=dry_run))
    _tell_end(done, dry_run, f"{bucket}/{prefix}")


@click.command()
@data_option
@click.argument("function")
@click.option("--bucket", default="", help="Only objects of this bucket.")
@click.option("--prefix", default="", help="Only keys that begin so.")
@since_option
@click.option("--until", callback=read_moment, metavar="TIME", help="Written before then.")
@dry_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--resume", metavar="ID", help="Go on with a replay that was interrupted.")
def replay(
    function: str,
    bucket: str,
    prefix: str,
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    yes: bool,
    resume: str | None,
) -> None:
    """Run a function again, on purpose.

    For the objects that match its triggers, handled or not.
    It prints an id when it begins. With --resume ID it goes on where it was interrupted, with what
    was chosen then, and nothing is run twice.
    """
    from broker.replay import Replay, Selection

    found = Replay(*_reach())
    selection = Selection(function=function, bucket=bucket, prefix=prefix, since=since, until=until)
    if resume is not None:
        selection = _resumed(found, resume, selection)
    if not (dry_run or yes or resume):
        click.confirm(f"Run {function} again for {_in_words(selection)}?", abort=True, err=True)
    if dry_run:
        steps = found.try_out(selection)
    else:
        id = resume or found.begin(selection)
        tell(f"replay {id}: if it is interrupted, go on with --resume {id}")
        steps = found.run(id, selection)
    done = _follow(steps)
    _tell_end(done, dry_run, _in_words(selection))


def _resumed(replay: Replay, id: str, asked: Selection) -> Selection:
    """What the replay was begun for."""
    found = replay.find(id)
    if found.function != asked.function:
        raise click.UsageError(f"replay {id} is of function {found.function}")
    if asked != asked.model_copy(update={"bucket": "", "prefix": "", "since": None, "until": None}):
        raise click.UsageError("--resume goes on with what was chosen then: leave the rest out")
    return found


def _reach() -> tuple[Redis, BrokerSettings, StorageSettings, Functions]:
    """The system's Redis, and what else sweeps and replays are made with."""
    from broker.connection import connect
    from broker.settings import BrokerSettings
    from bucketwheel.instance import fill_environment
    from storage.functions import FunctionStore
    from storage.settings import StorageSettings

    fill_environment()
    settings, storage = BrokerSettings.read(), StorageSettings.read()
    return connect(settings), settings, storage, FunctionStore(storage).all


def _follow(steps: Iterator[Progress]) -> Progress:
    """Draw what is done on standard error, if somebody looks; returns the last step."""
    from broker.late_events import Progress

    done = Progress()
    with _drawn() as draw:
        for done in steps:
            draw(done)
    return done


@contextmanager
def _drawn() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import Progress as Drawn
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} keys seen, {task.fields[entered]:,} enqueued,"),
        TextColumn("{task.fields[rate]:,.0f} keys/s"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[place]}", style="dim"),
    )
    with Drawn(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as drawn:
        task, begun = drawn.add_task("", total=None, entered=0, rate=0, place=""), time.monotonic()
        yield lambda step: drawn.update(
            task,
            completed=step.seen,
            entered=step.entered,
            rate=step.seen / max(0.1, time.monotonic() - begun),
            place=step.place[-40:],
        )


def _tell_end(done: Progress, dry_run: bool, where: str) -> None:
    would = "would be enqueued" if dry_run else "enqueued"
    click.echo(f"{done.seen:,} keys seen in {where}: {done.entered:,} invocations {would}")


def _in_words(selection: Selection) -> str:
    where = f"{selection.bucket}/{selection.prefix}" if selection.bucket else "all its triggers"
    times = [f" since {_at(selection.since)}"] if selection.since else []
    times += [f" until {_at(selection.until)}"] if selection.until else []
    narrowed = f" ({selection.prefix}*)" if selection.prefix and not selection.bucket else ""
    return where + narrowed + "".join(times)


def _at(moment: datetime) -> str:
    from bucketwheel.cli.output import at

    return at(moment)
