"""The supervisor: gives invocations to execution environments, and starts and ends these.

It has a thread and an asyncio loop of its own, so that deadlines hold whatever Celery and Redis
do. What may be called from other threads comes first; everything else runs on that loop.
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
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Ledger
from storage.configuration import FunctionConfiguration
from storage.errors import BucketwheelError, PackageError
from workers import faults
from workers.bookkeeper import Bookkeeper
from workers.completion import Completion, Post
from workers.delivery import Delivery, Run
from workers.environment import Environment
from workers.fleet import Fleet, has_room, starves_another, to_give_way
from workers.preparation import Preparation, Prepared
from workers.sandbox import EnvironmentSpec, Sandboxes
from workers.settings import WorkerSettings
from workers.trial import Trial
from workers.zygote import Zygote

log = logging.getLogger("bucketwheel.supervisor")

#: Environments that may initialise at once: more would only take turns on the processors.
STARTS: Final = 2 * (os.cpu_count() or 1)
#: Seconds before a start is tried again that the platform, not the function, has failed.
PAUSE: Final = 1.0

Deploy = Callable[[Invocation], FunctionFault | None]


class Supervisor:
    """Owns this host's environments; start, stop."""

    def __init__(
        self, settings: WorkerSettings, ledger: Ledger, preparation: Preparation, deploy: Deploy
    ) -> None:
        """`deploy` carries out an upload's event in a thread of its own."""
        #: Environments at work at once on this host; Celery's pool_grow and pool_shrink change it.
        self.limit = settings.concurrency
        self._settings = settings
        self._preparation = preparation
        self._deploy = deploy
        self._loop = asyncio.new_event_loop()
        self._bookkeeper = Bookkeeper(ledger, self._loop)
        self._zygote = Zygote()
        self._sandboxes = Sandboxes(settings.data / "tmp")
        self._fleets: dict[str, Fleet] = {}
        #: What each environment was prepared with, until it ends.
        self._prepared: dict[Environment, Prepared] = {}
        self._initialising: dict[Environment, Fleet] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="preparation")
        self._deployments = ThreadPoolExecutor(1, thread_name_prefix="deployment")
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._stopping = False

    # -- called from other threads ------------------------------------------------------------

    def start(self, post: Post) -> None:
        """Start the thread, the zygote and the bookkeeper; `post` runs things on Celery's hub."""
        self._post = post
        self._completion = Completion(self._bookkeeper, post)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._zygote.start(), self._loop).result(30)
        self._bookkeeper.start()

    def stop(self) -> None:
        """Drain: wait for running invocations, put the rest back in line, end every environment."""
        if not self._thread.is_alive():
            return
        drained = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        drained.result(self._settings.drain_timeout + 60)
        self._threads.shutdown(cancel_futures=True)
        self._bookkeeper.stop(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def submit(self, delivery: Delivery) -> None:
        """Take a message's invocations."""
        self._loop.call_soon_threadsafe(self._take, delivery)

    def terminate(self, pid: int) -> None:
        """End the environment that has this process id, with its invocation."""
        self._loop.call_soon_threadsafe(self._terminate, pid)

    def revoke(self, delivery: Delivery) -> None:
        """Give up what a message would have delivered: Celery was told not to run it."""
        self._loop.call_soon_threadsafe(self._revoke, delivery)

    def use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        """Take the deployed functions as they now are."""
        self._loop.call_soon_threadsafe(self._use, dict(functions))

    def trial(self, configuration: FunctionConfiguration, event: bytes) -> Outcome:
        """Run one event in a new environment of its own, and end that."""
        spec = self._preparation.prepare_trial(configuration)
        return asyncio.run_coroutine_threadsafe(self._trial(spec, event), self._loop).result()

    def info(self) -> dict[str, Any]:
        """What Flower's pool tab and `inspect stats` show."""
        fleets = list(self._fleets.values())
        return {
            "max-concurrency": self.limit,
            "processes": [each.pid for fleet in fleets for each in [*fleet.busy, *fleet.idle]],
            "environments": {fleet.function: fleet.info() for fleet in fleets},
        }

    # -- invocations --------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        for claim in delivery.claims:
            self._bookkeeper.claim(claim, partial(self._begun, delivery))

    def _begun(self, delivery: Delivery, invocation: Invocation | None) -> None:
        if invocation is None:
            self._completion.count(delivery)
        elif invocation.function == keys.DEPLOY:
            self._begin_deployment(Run(invocation, delivery))
        else:
            fleet = self._fleet(invocation.function)
            fleet.waiting.append(Run(invocation, delivery))
            self._serve(fleet)

    def _revoke(self, delivery: Delivery) -> None:
        for claim in delivery.claims:
            self._bookkeeper.claim(claim, partial(self._revoked, delivery))

    def _revoked(self, delivery: Delivery, invocation: Invocation | None) -> None:
        if invocation is None:
            self._completion.count(delivery)
        else:
            self._completion.fail(Run(invocation, delivery), faults.REVOKED)

    def _serve(self, fleet: Fleet) -> None:
        """Give waiting invocations to idle environments; start more where some still wait."""
        if self._stopping:
            self._give_back(fleet)
        while fleet.waiting and fleet.idle:
            environment = fleet.idle.pop()
            if self._prepared[environment].serves(environment.spec.configuration.timeout):
                self._invoke(fleet, environment)
            else:
                self._end(environment)
        while fleet.waiting and fleet.configuration is None:
            self._completion.fail(fleet.waiting.popleft(), faults.not_deployed(fleet.function))
        while fleet.wants and has_room(self._fleets.values(), self.limit, STARTS):
            self._start(fleet)

    def _invoke(self, fleet: Fleet, environment: Environment) -> None:
        run = fleet.waiting.popleft()
        fleet.busy[environment] = run
        self._accept(run.delivery, environment.pid)
        environment.invoke(run.invocation)

    def _accept(self, delivery: Delivery, pid: int) -> None:
        """Tell Celery that a message's work has begun, and where: `revoke` names this process."""
        if not delivery.accepted:
            delivery.accepted = True
            self._post(partial(delivery.accept, pid, time.monotonic()))

    def _give_back(self, fleet: Fleet) -> None:
        while fleet.waiting:
            self._completion.give_back(fleet.waiting.popleft())

    # -- what environments tell (EnvironmentListener) -------------------------------------------

    def on_idle(self, environment: Environment) -> None:
        """An environment asks for its next invocation."""
        is_new = self._initialised(environment)
        fleet = self._fleet(environment.spec.configuration.name)
        if self._stopping or not fleet.is_current(environment):
            self._end(environment)
        elif starves_another(fleet, self._fleets.values(), self.limit):
            self._end(environment)
            self._serve_all()
        else:
            fleet.idle.append(environment)
            self._serve(fleet)
            if is_new and environment in fleet.idle:
                environment.is_spare()

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """An invocation has ended."""
        run = self._fleet(environment.spec.configuration.name).busy.pop(environment)
        self._completion.close(run, outcome)

    def on_exit(
        self, environment: Environment, fault: FunctionFault | None, log_lines: tuple[str, ...]
    ) -> None:
        """An environment has ended."""
        failed_to_start = self._initialised(environment)
        fleet = self._fleet(environment.spec.configuration.name)
        self._prepared.pop(environment, None)
        if environment in fleet.idle:
            fleet.idle.remove(environment)
        if fault and failed_to_start and fleet.waiting:
            self._completion.fail(fleet.waiting.popleft(), fault, log_lines)
        self._serve_all()

    # -- environments ---------------------------------------------------------------------------

    def _start(self, fleet: Fleet) -> None:
        """Start an environment, in the place of an idle one where the host has no more room."""
        replaced = to_give_way(self._fleets.values(), self.limit)
        if replaced is not None:
            self._end(replaced)
        fleet.starting += 1
        self._spawn(self._start_up(fleet))

    async def _start_up(self, fleet: Fleet) -> None:
        """Prepare an environment and start it; it reports by `on_idle` or `on_exit`."""
        configuration = fleet.configuration
        try:
            if configuration is not None:
                await self._fork(fleet, configuration)
                return
        except PackageError as error:
            if fleet.waiting:
                fault = FunctionFault("Runtime.InvalidPackage", str(error))
                self._completion.fail(fleet.waiting.popleft(), fault)
        except (BucketwheelError, OSError) as error:
            log.warning("%s cannot start, trying again: %s", fleet.function, error)
            await asyncio.sleep(PAUSE)
        fleet.starting -= 1
        self._serve_all()

    async def _fork(self, fleet: Fleet, configuration: FunctionConfiguration) -> None:
        prepare = partial(self._preparation.prepare, configuration)
        prepared = await self._loop.run_in_executor(self._threads, prepare)
        environment = Environment(prepared.spec, self._zygote, self._sandboxes, self)
        self._prepared[environment], self._initialising[environment] = prepared, fleet
        try:
            await environment.start()
        except BaseException:
            del self._prepared[environment], self._initialising[environment]
            raise

    def _initialised(self, environment: Environment) -> bool:
        """Count an environment's start as over; returns whether it was its first report."""
        fleet = self._initialising.pop(environment, None)
        if fleet is not None:
            fleet.starting -= 1
        return fleet is not None

    def _end(self, environment: Environment) -> None:
        """End an environment that has nothing to do."""
        fleet = self._fleet(environment.spec.configuration.name)
        if environment in fleet.idle:
            fleet.idle.remove(environment)
        self._prepared.pop(environment, None)
        self._spawn(environment.stop())

    def _terminate(self, pid: int) -> None:
        for fleet in self._fleets.values():
            for environment in list(fleet.busy):
                if environment.pid == pid:
                    environment.kill(faults.REVOKED)

    async def _reap(self) -> None:
        """Each second: end environments that were idle for too long."""
        while True:
            await asyncio.sleep(1.0)
            before = time.monotonic() - self._settings.idle_timeout
            for fleet in self._fleets.values():
                for environment in fleet.take_idle_before(before):
                    self._end(environment)

    # -- deployments ----------------------------------------------------------------------------

    async def _trial(self, spec: EnvironmentSpec, event: bytes) -> Outcome:
        return await Trial(spec, self._zygote, self._sandboxes).run(event)

    def _begin_deployment(self, run: Run) -> None:
        if self._stopping:
            self._completion.give_back(run)
            return
        self._accept(run.delivery, os.getpid())
        carried = self._loop.run_in_executor(self._deployments, self._deploy, run.invocation)
        carried.add_done_callback(partial(self._deployed, run))

    def _deployed(self, run: Run, carried: asyncio.Future[FunctionFault | None]) -> None:
        fault = faults.RETURNED if carried.cancelled() else carried.result()
        self._completion.close(run, Outcome(run.invocation, b"null", fault, 0.0, 0))

    # -- functions ------------------------------------------------------------------------------

    def _use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        self._completion.functions = functions
        for fleet in self._fleets.values():
            fleet.configuration = functions.get(fleet.function)
            for environment in [each for each in fleet.idle if not fleet.is_current(each)]:
                self._end(environment)
        self._serve_all()

    def _fleet(self, function: str) -> Fleet:
        fleet = self._fleets.get(function)
        if fleet is None:
            fleet = Fleet(function, self._completion.functions.get(function))
            self._fleets[function] = fleet
        return fleet

    def _serve_all(self) -> None:
        for fleet in list(self._fleets.values()):
            if fleet.waiting:
                self._serve(fleet)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._spawn(self._reap())
        self._loop.run_forever()

    def _spawn(self, coroutine: Any) -> None:
        """Run a coroutine in the background; the loop itself keeps only weak references."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a background step failed", exc_info=task.exception())

    async def _drain(self) -> None:
        self._stopping = True
        fleets = self._fleets.values()
        for fleet in fleets:
            self._give_back(fleet)
        deadline = time.monotonic() + self._settings.drain_timeout
        while any(fleet.busy for fleet in fleets) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for environment in [each for fleet in fleets for each in fleet.busy]:
            environment.kill(faults.RETURNED)
        finish = partial(self._deployments.shutdown, cancel_futures=True)
        await self._loop.run_in_executor(None, finish)
        await asyncio.gather(*(each.stop() for each in list(self._prepared)))
        await self._zygote.stop()
