"""The parts of a system, each run by a process of its own: intake, worker, Flower."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from typing import Final

from pydantic import SecretStr

from broker.deliverer import Deliverer
from broker.intake import Intake
from broker.settings import BrokerSettings
from broker.watch import Watch
from bucketwheel.settings import UpSettings
from storage.configuration import uploads
from storage.errors import StorageError
from storage.functions import FunctionStore
from storage.roles import Roles
from storage.rules import BucketRules
from storage.settings import StorageSettings

log = logging.getLogger("bucketwheel.parts")

#: Invocations that Flower keeps in memory, for how many seconds it shows workers that have gone
#: (each container has a name of its own), and who may look.
_FLOWER_TASKS: Final = 10_000
_FLOWER_OFFLINE: Final = 3_600
_FLOWER_USER: Final = "bucketwheel"


def run_intake() -> None:
    """Assert what the store must have, then move events until SIGTERM or SIGINT.

    A deliverer and a watch run beside it.
    """
    storage = StorageSettings.read()
    deployments = uploads(storage.system_bucket)
    store = FunctionStore(storage)
    intake = Intake(BrokerSettings.read(), store.all, deployments, storage.s3_region)
    deliverer = Deliverer(BrokerSettings.read(), storage, store.load)
    person = UpSettings.read().user_secret_key
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        intake.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    mended: set[str] = set()
    while not stopping.is_set() and not _assert_store(store, storage, person, mended):
        stopping.wait(1.0)
    watch = Watch(BrokerSettings.read(), storage, store.all, sorted(mended))
    deliverer.start()
    watch.start()
    intake.start()
    watch.stop()
    deliverer.stop()


def _assert_store(
    store: FunctionStore, storage: StorageSettings, person: SecretStr | None, mended: set[str]
) -> bool:
    """Make the system bucket, people's user, the roles and rules of all functions; whether that
    worked.

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
        if person is not None:
            roles.grant_person(person.get_secret_value())
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
    """Show workers and invocations until SIGTERM or SIGINT.

    Raises:
        StartError: others would reach it without a password.
    """
    from workers.celery_app import make_app

    settings = UpSettings.read()
    settings.check_flower()
    app = make_app(BrokerSettings.read())
    # These are no process's arguments: the password is seen by nobody.
    arguments = [
        "flower",
        f"--address={settings.flower_address}",
        f"--port={settings.flower_port}",
        f"--max_tasks={_FLOWER_TASKS}",
        f"--purge_offline_workers={_FLOWER_OFFLINE}",
        f"--conf={os.devnull}",  # a flowerconfig.py that happens to lie here is not ours to run
    ]
    if settings.flower_password is not None:
        arguments.append(
            f"--basic_auth={_FLOWER_USER}:{settings.flower_password.get_secret_value()}"
        )
    app.start(arguments)
