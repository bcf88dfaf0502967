"""The command `status`: hosts, and what waits, runs and failed; once, or as it changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from bucketwheel.cli.options import data_option, json_option

if TYPE_CHECKING:
    from redis import Redis
    from rich.console import RenderableType

#: Seconds between looks of `--watch`, and between readings of what is deployed.
INTERVAL: Final = 0.5
READING: Final = 5.0

#: What is shown of the watch.
_WATCHED: Final = {"watermark", "settled", "pending", "swept_at", "why", "seen", "found"}
_COUNTS: Final = (
    "queued", "running", "warm", "cold_starts", "throttled",
    "retrying", "succeeded", "failed", "dead",
)  # fmt: skip


@click.command()
@data_option
@json_option
@click.option("--watch", "-w", is_flag=True, help="Go on, and show how it changes.")
def status(as_json: bool, watch: bool) -> None:
    """Show hosts, and what waits, runs and failed.

    "why it waits" names the limit that keeps a function from having more environments at work.
    """
    from broker.connection import connect
    from broker.settings import BrokerSettings
    from bucketwheel.cli.output import print_json
    from bucketwheel.instance import fill_environment

    fill_environment()
    redis = connect(BrokerSettings.read())
    if watch:
        _watch(redis)
        return
    found = _status(redis, _deployed())
    if as_json:
        print_json(found)
    else:
        _show(found)


def _deployed() -> list[str]:
    from storage.functions import FunctionStore
    from storage.settings import StorageSettings

    return sorted(FunctionStore(StorageSettings.read()).all())


def _status(redis: Redis, functions: list[str]) -> dict[str, Any]:
    from broker import keys
    from broker.counters import known_queues, overview
    from broker.dead_letters import DeadLetters
    from broker.fleets import hosts
    from broker.liveness import workers_alive
    from broker.outbox import waiting
    from broker.watch_state import WatchState

    watched = WatchState.read(redis)
    # The platform's own, and those that are gone: shown only while there is something to see.
    others = {keys.DEPLOY, keys.INTAKE, keys.WORKER, *known_queues(redis)}.difference(functions)
    shown = [
        each
        for each in overview(redis, [*functions, *sorted(others)])
        if each.function not in others
        or (each.queued or each.running or each.retrying or each.failed or each.dead)
    ]
    return {
        "workers": workers_alive(redis),
        "hosts": [{"worker": id, **asdict(each)} for id, each in hosts(redis).items()],
        "events_waiting": redis.llen(keys.EVENTS),
        "dead_letters": DeadLetters(redis).count(),
        "records_waiting": waiting(redis),
        "watch": watched.model_dump(mode="json", include=_WATCHED) if watched else None,
        "functions": [asdict(each) for each in shown],
    }


def _show(found: dict[str, Any]) -> None:
    from bucketwheel.cli.output import print_any

    for line in _head(found):
        click.echo(line)
    if not found["functions"]:
        click.echo("functions       none: bucketwheel deploy PATH adds some")
        return
    click.echo()
    print_any(_table(found))
    for line in _errors(found):
        click.echo(line)


def _head(found: dict[str, Any]) -> Iterator[str]:
    workers = ", ".join(found["workers"]) or "none: nothing runs until one is started"
    yield f"workers         {workers}"
    for host in found["hosts"]:
        name = host["worker"].partition(":")[0]
        yield (
            f"{name:<15} {host['working']} of {host['limit']:,} environments at work,"
            f" {host['memory_given']:,} of {host['memory']:,} MB given,"
            f" {host['runnable']:.1f} processors wanted of {host['cores']}"
        )
        yield f"{'':<15} {host['isolation']}; {host['limits']}"
    yield f"events waiting  {found['events_waiting']}"
    yield from _sweeps(found["watch"])
    if found["records_waiting"]:
        yield f"records waiting {found['records_waiting']:,} for their destinations"
    if found["dead_letters"]:
        yield f"dead letters    {found['dead_letters']:,} are kept: bucketwheel dead list"


def _sweeps(watch: dict[str, Any] | None) -> Iterator[str]:
    """Until when all uploads are known to be handed over, and what the last sweep was for."""
    from datetime import datetime

    from bucketwheel.cli.output import at

    if watch is None:
        yield "nothing lost    not known: no intake has looked yet"
        return
    due = f"; a sweep is due: {watch['pending']}" if watch["pending"] else ""
    yield f"nothing lost    until {at(datetime.fromisoformat(watch['watermark']))}{due}"
    if watch["swept_at"]:
        yield (
            f"last sweep      {at(datetime.fromisoformat(watch['swept_at']))}: {watch['why']};"
            f" {watch['seen']:,} keys, {watch['found']:,} invocations had been lost"
        )


def _table(found: dict[str, Any]) -> RenderableType:
    from bucketwheel.cli.output import table

    heads = ["function", *(f">{each.replace('_', ' ')}" for each in _COUNTS)]
    rows = [
        [
            each["function"],
            *(each[count] for count in _COUNTS),
            f"{each['oldest']:.0f}",
            each["limit"],
        ]
        for each in found["functions"]
    ]
    return table([*heads, ">oldest s", "why it waits"], rows)


def _errors(found: dict[str, Any]) -> Iterator[str]:
    for each in found["functions"]:
        if each["last_error"]:
            yield f"last error of {each['function']}: {each['last_error']}"


def _watch(redis: Redis) -> None:
    """Draw it anew twice a second, until Ctrl-C; a server that is away for a while is told."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from broker.connection import UNAVAILABLE
    from storage.errors import StorageError

    functions, read = _deployed(), time.monotonic()
    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        while True:
            try:
                if time.monotonic() - read > READING:
                    functions, read = _deployed(), time.monotonic()
                found = _status(redis, functions)
                lines = [*_head(found), ""], [*_errors(found), "", "Ctrl-C ends this"]
                above, below = (Text("\n".join(each)) for each in lines)
                live.update(Group(above, _table(found), below), refresh=True)
            except (*UNAVAILABLE, StorageError) as error:
                live.update(Text(f"waiting for the system: {error}"), refresh=True)
            time.sleep(INTERVAL)
