"""The commands `dead`: what was given up is listed, shown, retried, purged."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from bucketwheel.cli.options import data_option, json_option

if TYPE_CHECKING:
    from broker.dead_letter import DeadLetter
    from broker.dead_letters import DeadLetters, Selection

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: What `retry` says of letters it has left, or found gone.
_LEFT: Final = {
    "gone": "were gone already",
    "not deployed": "are left: their function is not deployed",
    "unusable": "are left: what they hold is nothing that could be run",
}


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """`90s`, `30m`, `2h`, `1d`, as seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", value)
    if found is None:
        reason = f"{value!r} must be a number with s, m, h or d, such as 2h"
        raise click.BadParameter(reason, context, parameter)
    return float(found[1]) * _SECONDS[found[2]]


def _selecting(command: F) -> F:
    """Options by which dead letters are selected."""
    since, before = "Given up within: 30m, 2h, 1d.", "Given up longer ago than: 30m, 2h, 1d."
    for option in (
        click.option("--newer-than", callback=_age, metavar="AGE", help=since),
        click.option("--older-than", callback=_age, metavar="AGE", help=before),
        click.option("--reason", default="", metavar="TEXT", help="Part of the reason."),
        click.option("--function", metavar="NAME", help="Of this function."),
    ):
        command = option(command)
    return command


@click.group()
def dead() -> None:
    """Look at what was given up; retry it, or purge it.

    Kept are invocations whose retries are exhausted or whose event is too old, and what could not
    become one: notifications and messages of no known shape (functions bucketwheel:intake and
    bucketwheel:worker). They stay until they are retried or purged.
    """


@dead.command("list")
@data_option
@_selecting
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="How many at most.  [default: 50; with --json, all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each.")
def list_letters(limit: int | None, as_json: bool, **selected: Any) -> None:
    """List dead letters, the newest first."""
    from bucketwheel.cli.output import at, print_table

    store, selection = _store(), _selection(**selected)
    letters = (letter for piece in store.find(selection) for letter in piece.letters)
    if as_json:
        for letter in islice(letters, limit):
            _print(letter)
        return
    rows = [
        [each.id, at(each.at), each.function, each.attempts, each.reason]
        for each in islice(letters, limit or 50)
    ]
    print_table(["id", "given up", "function", ">attempts", "reason"], rows)


@dead.command()
@data_option
@click.argument("id")
def show(id: str) -> None:
    """Show a dead letter with its event, as JSON."""
    from bucketwheel.cli.output import print_json

    print_json(_told(_store().get(id)))


@dead.command()
@data_option
@click.argument("ids", nargs=-1)
@_selecting
@click.option("--all", "everything", is_flag=True, help="All there are.")
@json_option
def retry(everything: bool, as_json: bool, **selected: Any) -> None:
    """Put dead letters back in line, by their ids or by what they have in common.

    An invocation is tried as if it were new, under its old id. A record that no destination took
    is sent again, a notification is read again. It can be interrupted, and done again.
    """
    from bucketwheel.cli.output import print_json

    store, selection = _store(), _must_select(everything, **selected)
    done: Counter[str] = Counter()
    _walk(store, selection, "retrying", lambda letters: done.update(store.retry(letters)))
    if as_json:
        print_json({name.replace(" ", "_"): done[name] for name in ("retried", *_LEFT)})
        return
    click.echo(f"{done['retried']:,} are on their way again")
    for name, text in _LEFT.items():
        if done[name]:
            click.echo(f"{done[name]:,} {text}", err=True)


@dead.command()
@data_option
@click.argument("ids", nargs=-1)
@_selecting
@click.option("--all", "everything", is_flag=True, help="All there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(everything: bool, yes: bool, as_json: bool, **selected: Any) -> None:
    """Forget dead letters, by their ids or by what they have in common.

    What they hold is gone then. Without ids, --yes is needed where nobody can be asked.
    """
    from bucketwheel.cli.output import print_json

    store, selection = _store(), _must_select(everything, **selected)
    if not selection.ids and not yes:
        _ask(store.count(selection))
    done: Counter[str] = Counter()
    _walk(store, selection, "purging", lambda letters: done.update(purged=store.purge(letters)))
    if as_json:
        print_json({"purged": done["purged"]})
    else:
        click.echo(f"{done['purged']:,} are gone")


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("give --yes to purge what was not named by its id")
    click.confirm(f"Purge what fits among {count:,} dead letters?", abort=True)


def _store() -> DeadLetters:
    from broker.connection import connect
    from broker.dead_letters import DeadLetters
    from broker.settings import BrokerSettings
    from bucketwheel.instance import fill_environment

    fill_environment()
    return DeadLetters(connect(BrokerSettings.read()))


def _selection(**selected: Any) -> Selection:
    from broker.dead_letters import Selection

    return Selection(**selected)


def _must_select(everything: bool, **selected: Any) -> Selection:
    """A selection that was not made by saying nothing."""
    if not everything and not any(each not in (None, "", ()) for each in selected.values()):
        raise click.UsageError(
            "name ids, or say which: --function, --reason, --older-than, --newer-than, or --all"
        )
    return _selection(**selected)


def _walk(
    store: DeadLetters,
    selection: Selection,
    what: str,
    step: Callable[[list[DeadLetter]], None],
) -> None:
    """Do a step for each piece of what is selected, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=store.count(selection))
        for piece in store.find(selection):
            step(piece.letters)
            progress.advance(task, piece.looked)


def _told(letter: DeadLetter) -> dict[str, Any]:
    import orjson

    told: dict[str, Any] = orjson.loads(letter.render())
    try:
        told["event"] = orjson.loads(letter.event)
    except orjson.JSONDecodeError:
        pass  # as text: it was no JSON, and that may be why it is here
    return told


def _print(letter: DeadLetter) -> None:
    import orjson

    click.echo(orjson.dumps(_told(letter)).decode())
