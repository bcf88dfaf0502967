"""The intake's process: moves events into function queues, a deliverer and a watch beside it."""

from __future__ import annotations

import logging
import signal
import threading

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

log = logging.getLogger("bucketwheel.intake")


def run() -> None:
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
