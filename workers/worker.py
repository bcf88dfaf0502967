"""One host's worker: Celery's, with our pool, and what lives beside it."""

from __future__ import annotations

import logging
import resource
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from celery import Celery
from celery.signals import task_revoked

from broker import keys
from broker.connection import connect
from broker.dead_letter import undeliverable
from broker.invocation import FunctionFault
from broker.ledger import Ledger
from broker.liveness import make_id
from broker.message import delivered
from broker.publication import Publisher
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.functions import FunctionStore
from storage.roles import Roles
from storage.settings import StorageSettings
from workers.celery_app import make_app
from workers.consumer import FollowFunctions, FunctionConsumer, HoldLease
from workers.delivery import revoked
from workers.deployment import Deployer
from workers.errors import WorkerError
from workers.function_watch import FunctionWatch
from workers.layers import Layers
from workers.lease import Lease
from workers.packages import Packages
from workers.preparation import Preparation
from workers.report import Report
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor
from workers.transport import FunctionTransport

log = logging.getLogger("bucketwheel.worker")

#: Seconds for which one thread may keep the interpreter while others wait: Python's 5 ms, while
#: Celery's thread computes, are more than a warm invocation takes.
SWITCH_INTERVAL: Final = 0.001


class Worker:
    """One host's Celery worker with its supervisor; start blocks, stop ends it."""

    def __init__(
        self, settings: WorkerSettings, broker: BrokerSettings, storage: StorageSettings
    ) -> None:
        self._settings = settings
        self._functions: Mapping[str, FunctionConfiguration] = {}
        self._consumer: FunctionConsumer | None = None
        self._resting: frozenset[str] = frozenset()
        store, roles = FunctionStore(storage), Roles(storage)
        self._packages = Packages(settings.data / "packages", store.fetch_package)
        self._layers = Layers(settings.data / "layers", self._packages)
        preparation = Preparation(storage, self._packages, self._layers, roles)
        redis = connect(broker)
        self.deployer = Deployer(redis, storage, store, roles, self._packages)
        id = make_id(settings.worker_name)
        self.supervisor = Supervisor(
            settings,
            Ledger(redis, id, broker, storage.s3_region),
            preparation,
            self.deployer.deploy,
        )
        self.lease = Lease(broker, id)
        self.report = Report(broker, id, self.supervisor.report, self.supervisor.share)
        self.watch = FunctionWatch(broker, store.all, self._use)
        self.deployer.serve(self.supervisor.trial, self.watch.run_once)
        self._publisher = Publisher(redis, broker)
        self._reaper = Reaper(redis, storage.s3_region)
        self.app = self._make_app(broker, keys.wake(id))

    def start(self) -> None:
        """Run until SIGTERM or SIGINT; then drain."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        _raise_descriptors()
        worker = self.app.Worker(
            hostname=f"bucketwheel@{self._settings.worker_name}",
            concurrency=self._settings.concurrency,
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            task_events=True,
            quiet=True,
        )
        self.lease.start()
        self.watch.start()
        log.info("worker %s is ready", self._settings.worker_name)
        try:
            worker.start()
        finally:
            self.report.stop()
            self.watch.stop()
            self.lease.stop()

    def _make_app(self, broker: BrokerSettings, wake: str) -> Celery:
        FunctionTransport.install(self._bury, wake)
        app = make_app(broker)
        app.supervisor, app.lease = self.supervisor, self.lease
        app.on_started, app.on_stopped = self.report.start, self._on_stopped
        app.on_consumer, app.on_rest, app.bury = self._on_consumer, self._on_rest, self._bury
        app.steps["consumer"].update({FollowFunctions, HoldLease})
        task_revoked.connect(self._on_revoked)
        _check(app)
        return app

    def _on_consumer(self, consumer: FunctionConsumer) -> None:
        self._consumer = consumer
        consumer.use(self._functions)
        consumer.rest(self._resting)

    def _on_stopped(self) -> None:
        """Everything has ended: what was told of it must not stay with the hub, which ends, too."""
        if self._consumer is not None:
            self._consumer.flush_events()

    def _on_rest(self, functions: frozenset[str]) -> None:
        """The supervisor has as much of these functions as it can use. Its thread."""
        self._resting = functions
        self.app.post(self._rest)

    def _rest(self) -> None:
        if self._consumer is not None:
            self._consumer.rest(self._resting)

    def _on_revoked(self, request: Any, terminated: bool, **_: Any) -> None:
        """Celery has dropped a message that was revoked while it waited."""
        if not terminated:
            self.supervisor.revoke(revoked(request))

    def _bury(self, queue: str, item: bytes, reason: str) -> None:
        """Give up what is in a queue and cannot be run, with its reason.

        With an invocation in the ledger it is given up itself: its message would be replaced, and
        come by again and again.
        """
        reason = f"in {queue}: {reason}"
        log.warning("kept as a dead letter: %s", reason)
        if not self._reaper.give_up(delivered(item), FunctionFault("Undeliverable", reason)):
            self._publisher.keep(undeliverable(uuid.uuid4().hex, keys.WORKER, item, reason))

    def _use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        """Called by the watch's thread."""
        self._packages.keep_only(_packages(functions.values()))
        self._layers.keep_only(functions.values())
        self._functions = functions
        self._reaper.use(functions)
        self.supervisor.use(functions)
        if self._consumer is not None and self._consumer.hub is not None:
            self._consumer.hub.call_soon(self._consumer.use, functions)


def _packages(functions: Iterable[FunctionConfiguration]) -> Iterator[str]:
    """Packages that functions and their layers are made of."""
    for each in functions:
        yield each.code_sha256
        yield from (layer.code_sha256 for layer in each.layers)


def _raise_descriptors() -> None:
    """Each environment takes half a dozen descriptors of ours: allow all that we may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check(app: Celery) -> None:
    """Refuse to start where settings that are only safe together have come apart."""
    if HoldLease not in app.steps["consumer"]:
        raise WorkerError("the lease step is missing: messages would be delivered twice")
    if app.conf.worker_prefetch_multiplier != 0 or not app.conf.worker_disable_prefetch:
        raise WorkerError("worker_prefetch_multiplier=0 needs worker_disable_prefetch")
