"""The supervisor: a thread and an asyncio loop of its own, on which invocations are claimed, run
and closed, so that deadlines hold whatever Celery and Redis do.

What may be called from other threads comes first; everything else runs on that loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from broker import keys
from broker.fleets import FleetReport, HostReport
from broker.invocation import FunctionFault, Invocation, Outcome, Throttled
from broker.ledger import Begun, Ledger
from storage.configuration import FunctionConfiguration
from workers import faults
from workers.background import Background
from workers.bookkeeper import Bookkeeper
from workers.completion import Completion, Post
from workers.cpu import Processors
from workers.delivery import Delivery, Run
from workers.dispatcher import Dispatcher, Rest
from workers.host import host
from workers.preparation import Preparation
from workers.runtimes import paths
from workers.sandbox import EnvironmentSpec, Sandboxes
from workers.settings import WorkerSettings
from workers.snapshot import Snapshots
from workers.trial import Trial
from workers.zygote import Zygote

log = logging.getLogger("bucketwheel.supervisor")

#: Seconds between looks at what environments use of the processors, and at what is idle.
LOOK: Final = 0.1
#: Seconds for which a snapshot is kept that nothing is forked from: it is there for functions that
#: are called seldom.
SNAPSHOT_IDLE: Final = 86_400.0

Deploy = Callable[[Invocation], FunctionFault | None]
Functions = Mapping[str, FunctionConfiguration]


class Supervisor:
    """Owns this host's environments; start, stop."""

    def __init__(
        self, settings: WorkerSettings, ledger: Ledger, preparation: Preparation, deploy: Deploy
    ) -> None:
        """`deploy` carries out an upload's event in a thread of its own."""
        #: What this host can give; Celery's pool_grow and pool_shrink change its limit.
        self.host = host(settings)
        self._settings = settings
        self._preparation = preparation
        self._deploy = deploy
        self._loop = asyncio.new_event_loop()
        self._bookkeeper = Bookkeeper(ledger, self._loop)
        self._background = Background(self._loop)
        self._zygote = Zygote(paths=paths(), hidden=settings.data)
        self._sandboxes = Sandboxes(settings.data / "tmp", self._zygote)
        self._snapshots = Snapshots(self._zygote, self._sandboxes)
        self._dispatcher = Dispatcher(
            self.host, preparation, self._snapshots, self._sandboxes, self._background
        )
        self._processors = Processors()
        self._deployments = ThreadPoolExecutor(1, thread_name_prefix="deployment")
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._stopping = False

    # -- called from other threads ------------------------------------------------------------

    def start(self, post: Post, rest: Rest) -> None:
        """Start the thread, the zygote and the bookkeeper.

        `post` runs things on Celery's hub; `rest` is told which queues to leave alone.
        """
        self._post = post
        self._completion = Completion(self._bookkeeper, post)
        self._dispatcher.serve_for(self._completion, post, rest, self._bookkeeper.trace)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._zygote.start(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._dispatcher.begin)
        self._bookkeeper.start()

    def stop(self) -> None:
        """Drain: wait for running invocations, put the rest back in line, end every environment."""
        if not self._thread.is_alive():
            return
        drained = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        drained.result(self._settings.drain_timeout + 60)
        self._bookkeeper.stop(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def submit(self, delivery: Delivery) -> None:
        """Take a message's invocations."""
        self._loop.call_soon_threadsafe(self._take, delivery)

    def terminate(self, pid: int) -> None:
        """End the invocation of the environment that has this process id."""
        self._loop.call_soon_threadsafe(self._dispatcher.terminate, pid)

    def revoke(self, delivery: Delivery) -> None:
        """Give up what a message would have delivered: Celery was told not to run it."""
        self._loop.call_soon_threadsafe(self._revoke, delivery)

    def use(self, functions: Functions) -> None:
        """Take the deployed functions as they now are."""
        self._loop.call_soon_threadsafe(self._use, dict(functions))

    def share(self, hosts: int) -> None:
        """Keep this host's part of what is provisioned, of so many hosts that live."""
        self._loop.call_soon_threadsafe(self._dispatcher.share, hosts)

    def trial(self, configuration: FunctionConfiguration, event: bytes) -> Outcome:
        """Run one event in a new environment of its own, and end that."""
        spec = self._preparation.prepare_trial(configuration)
        return asyncio.run_coroutine_threadsafe(self._trial(spec, event), self._loop).result()

    def info(self) -> dict[str, Any]:
        """What Flower's pool tab and `inspect stats` show."""
        return self._dispatcher.info()

    def report(self) -> tuple[HostReport, list[FleetReport]]:
        """What `bucketwheel status` shows of this host."""
        fleets = self._dispatcher.fleets
        about = HostReport(
            limit=self.host.limit,
            working=fleets.working,
            memory=self.host.memory,
            memory_given=fleets.memory,
            cores=self.host.cores,
            runnable=round(fleets.runnable, 2),
            isolation=self._zygote.isolation.description,
            limits=self._sandboxes.limits,
        )
        return about, [each.report() for each in fleets if each.size or each.queue or each.at_rest]

    @property
    def most_held(self) -> int:
        """Messages that may be in this worker's hands at once; none once its limit is 0."""
        return self.host.limit + self._dispatcher.fleets.allowance if self.host.limit else 0

    # -- invocations --------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        if delivery.function != keys.DEPLOY:
            fleet = self._dispatcher.expect(delivery.function, len(delivery.claims))
            delivery.reserve(fleet.reserved)
        for claim in delivery.claims:
            self._bookkeeper.claim(claim, partial(self._begun, delivery))

    def _begun(self, delivery: Delivery, begun: Begun) -> None:
        if delivery.function != keys.DEPLOY:
            self._dispatcher.expect(delivery.function, -1)
        if begun is None:
            self._completion.count(delivery)
        elif isinstance(begun, Throttled):
            self._dispatcher.back_off(begun.function)
            self._completion.count(delivery)
        elif begun.function == keys.DEPLOY:
            self._begin_deployment(Run(begun, delivery))
        else:
            self._dispatcher.enqueue(Run(begun, delivery))

    def _revoke(self, delivery: Delivery) -> None:
        for claim in delivery.claims:
            self._bookkeeper.claim(claim, partial(self._revoked, delivery))

    def _revoked(self, delivery: Delivery, begun: Begun) -> None:
        if isinstance(begun, Invocation):
            self._completion.fail(Run(begun, delivery), faults.REVOKED)
        else:
            self._completion.count(delivery)

    # -- deployments ----------------------------------------------------------------------------

    async def _trial(self, spec: EnvironmentSpec, event: bytes) -> Outcome:
        return await Trial(spec, self._zygote, self._sandboxes).run(event)

    def _begin_deployment(self, run: Run) -> None:
        if self._stopping:
            self._completion.give_back(run)
            return
        delivery = run.delivery
        if not delivery.accepted:
            delivery.accepted = True
            self._post(partial(delivery.accept, os.getpid(), time.monotonic()))
        carried = self._loop.run_in_executor(self._deployments, self._deploy, run.invocation)
        carried.add_done_callback(partial(self._deployed, run))

    def _deployed(self, run: Run, carried: asyncio.Future[FunctionFault | None]) -> None:
        fault = faults.RETURNED if carried.cancelled() else carried.result()
        self._completion.close(run, Outcome(run.invocation, b"null", fault, 0.0, 0))

    def _use(self, functions: Functions) -> None:
        self._completion.functions = functions
        self._dispatcher.use(functions)
        self._snapshots.keep_only({(each.name, each.version) for each in functions.values()})

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._background.spawn(self._keep_looking())
        self._loop.run_forever()

    async def _keep_looking(self) -> None:
        while not self._stopping:
            await asyncio.sleep(LOOK)
            self._look()

    def _look(self) -> None:
        """One look; a fault in it must not end the looking."""
        now = time.monotonic()
        try:
            self._dispatcher.look(now - self._settings.idle_timeout, self._processors.idle())
            self._snapshots.reap(now - SNAPSHOT_IDLE)
        except Exception:
            log.exception("a look at the environments failed")

    async def _drain(self) -> None:
        self._stopping = True
        await self._dispatcher.drain(time.monotonic() + self._settings.drain_timeout)
        finish = partial(self._deployments.shutdown, cancel_futures=True)
        await self._loop.run_in_executor(None, finish)
        await self._snapshots.stop()
        await self._zygote.stop()
