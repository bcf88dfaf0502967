"""The worker's process: runs this host's functions."""

from __future__ import annotations

import warnings

from celery.exceptions import SecurityWarning

from broker.settings import BrokerSettings
from storage.settings import StorageSettings
from workers.settings import WorkerSettings
from workers.worker import Worker


def run() -> None:
    """Run functions until SIGTERM or SIGINT, then drain."""
    # Celery's warning about root is about pickled messages, which this worker does not accept.
    warnings.simplefilter("ignore", SecurityWarning)
    Worker(WorkerSettings.read(), BrokerSettings.read(), StorageSettings.read()).start()
