"""Flower's process: shows workers and invocations."""

from __future__ import annotations

import os
from typing import Final

from broker.settings import BrokerSettings
from bucketwheel.settings import UpSettings
from workers.celery_app import make_app

#: Invocations that Flower keeps in memory, for how many seconds it shows workers that have gone
#: (each container has a name of its own), and who may look.
_TASKS: Final = 10_000
_OFFLINE: Final = 3_600
_USER: Final = "bucketwheel"


def run() -> None:
    """Show workers and invocations until SIGTERM or SIGINT.

    Raises:
        StartError: others would reach it without a password.
    """
    settings = UpSettings.read()
    settings.check_flower()
    app = make_app(BrokerSettings.read())
    # These are no process's arguments: the password is seen by nobody.
    arguments = [
        "flower",
        f"--address={settings.flower_address}",
        f"--port={settings.flower_port}",
        f"--max_tasks={_TASKS}",
        f"--purge_offline_workers={_OFFLINE}",
        f"--conf={os.devnull}",  # a flowerconfig.py that happens to lie here is not ours to run
    ]
    if settings.flower_password is not None:
        arguments.append(f"--basic_auth={_USER}:{settings.flower_password.get_secret_value()}")
    app.start(arguments)
