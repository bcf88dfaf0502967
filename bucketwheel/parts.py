"""The parts of a system, each run by a process of its own: intake, worker, Flower."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from typing import Final

from broker.deliverer import Deliverer
from broker.intake import Intake
from broker.settings import BrokerSettings
from broker.watch import Watch
from bucketwheel.settings import LOOPBACK, UpSettings
from storage.configuration import uploads
from storage.errors import StorageError
from storage.functions import FunctionStore
from storage.roles import Roles
from storage.rules import BucketRules
from storage.settings import StorageSettings

log = logging.getLogger("bucketwheel.parts")

#: Invocations that Flower keeps in memory.
_FLOWER_TASKS: Final = 10_000


def run_intake() -> None:
    """Assert what the store must have, then move events until SIGTERM or SIGINT.

    A deliverer and a watch run beside it.
    """
    storage = StorageSettings.read()
    deployments = uploads(storage.system_bucket)
    store = FunctionStore(storage)
    intake = Intake(BrokerSettings.read(), store.all, deployments, storage.s3_region)
    deliverer = Deliverer(BrokerSettings.read(), storage, store.load)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        intake.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    mended: set[str] = set()
    while not stopping.is_set() and not _assert_store(store, storage, mended):
        stopping.wait(1.0)
    watch = Watch(BrokerSettings.read(), storage, store.all, sorted(mended))
    deliverer.start()
    watch.start()
    intake.start()
    watch.stop()
    deliverer.stop()


def _assert_store(store: FunctionStore, storage: StorageSettings, mended: set[str]) -> bool:
    """Make the system bucket, and the roles and rules of all functions; whether that worked.

    Buckets that had not told their functions of all writes are added to `mended`.

    A deployment may change functions meanwhile: whoever reads functions after the change wins, so
    they are read again until they stay.
    """
    try:
        store.prepare()
        rules = BucketRules(storage)
        known = None
        while known != (known := store.all()):
            mended.update(rules.mend_for(known.values()))
            rules.ensure_for(known.values())
        roles = Roles(storage)
        for each in known.values():
            roles.grant(each)
    except StorageError as error:
        log.warning("the object store is not ready, trying again in 1 s: %s", error)
        return False
    return True


def run_worker() -> None:
    """Run functions until SIGTERM or SIGINT, then drain."""
    from celery.exceptions import SecurityWarning

    from workers.celery_app import Worker
    from workers.settings import WorkerSettings

    # Celery's warning about root is about pickled messages, which this worker does not accept.
    warnings.simplefilter("ignore", SecurityWarning)
    Worker(WorkerSettings.read(), BrokerSettings.read(), StorageSettings.read()).start()


def run_flower() -> None:
    """Show workers and invocations on loopback until SIGTERM or SIGINT."""
    from workers.celery_app import make_app

    port = UpSettings.read().flower_port
    app = make_app(BrokerSettings.read())
    arguments = [
        "flower",
        f"--address={LOOPBACK}",
        f"--port={port}",
        f"--max_tasks={_FLOWER_TASKS}",
        f"--conf={os.devnull}",  # a flowerconfig.py that happens to lie here is not ours to run
    ]
    app.start(arguments)
