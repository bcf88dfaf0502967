"""The command `bucketwheel`.

Each command imports what it needs when it runs, so that `--help` and a typing mistake answer at
once. Faults that a user can act on are one sentence on standard error and exit status 2; a
function's own error is `Type: message` with its trace, and exit status 1.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from bucketwheel.cli import dead, functions, layers, processes, runtimes, status, sweep, system
from bucketwheel.cli.options import data_option
from bucketwheel.errors import FunctionError
from storage.errors import BucketwheelError


class Commands(click.Group):
    """Lists commands in the order people need them, and turns expected faults into sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FunctionError as error:
            click.echo(f"{error.type}: {error.message}", err=True)
            for line in error.trace:
                click.echo(line.rstrip("\n"), err=True)
            sys.exit(1)
        except BucketwheelError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if _is_lost_redis(error):
                _fail(f"Redis does not answer, or refuses us: {error}")
            raise


def _is_lost_redis(error: Exception) -> bool:
    if "redis" not in sys.modules:
        return False
    from redis.exceptions import RedisError

    return isinstance(error, RedisError)


def _fail(message: str) -> None:
    click.echo(f"bucketwheel: {message}", err=True)
    sys.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bucketwheel", prog_name="bucketwheel")
@data_option
def main() -> None:
    """Run functions when objects land in buckets.

    \b
    bucketwheel up                        start everything on this machine
    bucketwheel deploy app.py             deploy the functions of a file or folder
    eval "$(bucketwheel env)"             then: aws s3 cp photo.jpg s3://photos/in/
    bucketwheel logs NAME --follow        see what a function does
    """


for _command in (
    system.up,
    system.down,
    system.env,
    functions.deploy,
    functions.list_functions,
    functions.invoke,
    functions.logs,
    layers.layer,
    layers.list_layers,
    status.status,
    dead.dead,
    sweep.sweep,
    sweep.replay,
    processes.intake,
    processes.worker,
    processes.flower,
    processes.alive,
    runtimes.runtimes,
):
    main.add_command(_command)
