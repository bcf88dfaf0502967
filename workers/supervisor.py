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
from broker.ledger import Closing, Ledger
from storage.configuration import FunctionConfiguration
from storage.errors import BucketwheelError, PackageError
from workers.bookkeeper import Bookkeeper
from workers.delivery import Delivery, Run
from workers.environment import Environment, EnvironmentSpec
from workers.fleet import Fleet
from workers.preparation import Preparation, Prepared
from workers.settings import WorkerSettings
from workers.trial import Trial
from workers.zygote import Zygote

log = logging.getLogger("bucketwheel.supervisor")

#: Environments that may initialise at once: more would only take turns on the processors.
STARTS: Final = 2 * (os.cpu_count() or 1)
#: Seconds an environment has to end after SIGTERM.
GRACE: Final = 0.5

Post = Callable[[Callable[[], None]], None]
Deploy = Callable[[Invocation], FunctionFault | None]


class Supervisor:
    """Owns this host's environments; start, stop."""

    def __init__(
        self, settings: WorkerSettings, ledger: Ledger, preparation: Preparation, deploy: Deploy
    ) -> None:
        """`deploy` carries out an upload's event in a thread of its own."""
        self.limit = settings.concurrency
        self._settings = settings
        self._preparation = preparation
        self._deploy = deploy
        self._loop = asyncio.new_event_loop()
        self._bookkeeper = Bookkeeper(ledger, self._loop)
        self._zygote = Zygote()
        self._fleets: dict[str, Fleet] = {}
        self._expiry: dict[Environment, Prepared] = {}
        self._initialising: dict[Environment, Fleet] = {}
        self._functions: Mapping[str, FunctionConfiguration] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="preparation")
        self._deployments = ThreadPoolExecutor(1, thread_name_prefix="deployment")
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._stopping = False

    # -- called from other threads ------------------------------------------------------------

    def start(self, post: Post) -> None:
        """Start the thread, the zygote and the bookkeeper; `post` runs things on Celery's hub."""
        self._post = post
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._zygote.start(), self._loop).result(30)
        self._bookkeeper.start()

    def stop(self) -> None:
        """Drain: wait for running invocations, put the rest back in line, end every environment."""
        if not self._thread.is_alive():
            return
        drained = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        drained.result(self._settings.drain_timeout + 30)
        self._deployments.shutdown(cancel_futures=True)
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
            "environments": {
                fleet.function: {
                    "busy": len(fleet.busy),
                    "idle": len(fleet.idle),
                    "starting": fleet.starting,
                    "waiting": len(fleet.waiting),
                }
                for fleet in fleets
            },
        }

    # -- invocations --------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        for claim in delivery.claims:
            self._bookkeeper.claim(claim, partial(self._begun, delivery))

    def _begun(self, delivery: Delivery, invocation: Invocation | None) -> None:
        if invocation is None:
            self._count(delivery, None)
        elif invocation.function == keys.DEPLOY:
            self._begin_deployment(Run(invocation, delivery))
        else:
            fleet = self._fleet(invocation.function)
            fleet.waiting.append(Run(invocation, delivery))
            self._serve(fleet)

    def _serve(self, fleet: Fleet) -> None:
        """Give waiting invocations to idle environments; start more where some still wait."""
        if self._stopping:
            self._give_back(fleet)
            return
        while fleet.waiting and fleet.idle:
            environment = fleet.idle.pop()
            if self._expiry[environment].serves(environment.spec.configuration.timeout):
                self._invoke(fleet, environment)
            else:
                self._end(environment)
        if fleet.waiting and fleet.configuration is None:
            self._refuse(fleet)
        while fleet.wants and self._has_room(fleet):
            # Counted before the coroutine's first step, or this loop would not end.
            fleet.starting += 1
            self._spawn(self._start(fleet))

    def _invoke(self, fleet: Fleet, environment: Environment) -> None:
        run = fleet.waiting.popleft()
        fleet.busy[environment] = run
        delivery = run.delivery
        if not delivery.accepted:
            delivery.accepted = True
            self._post(partial(delivery.accept, environment.pid, time.monotonic()))
        environment.invoke(run.invocation)

    def _refuse(self, fleet: Fleet) -> None:
        """Fail what is for a function that is not deployed."""
        fault = FunctionFault("ResourceNotFoundException", f"Function not found: {fleet.function}")
        while fleet.waiting:
            self._fail(fleet.waiting.popleft(), fault)

    def _fail(self, run: Run, fault: FunctionFault, log_lines: tuple[str, ...] = ()) -> None:
        """End an invocation that no handler has seen."""
        lines = (*log_lines, f"{fault.type}: {fault.message}")
        self._close(run, Outcome(run.invocation, None, fault, 0.0, 0, log=lines))

    def _close(self, run: Run, outcome: Outcome, returned: bool = False) -> None:
        function = self._functions.get(run.invocation.function)
        retries = function.maximum_retry_attempts if function else 0
        closing = Closing(outcome, retries, returned)
        retried = returned or run.invocation.failures < retries
        self._bookkeeper.close(closing, partial(self._closed, run, outcome, retried))

    def _closed(self, run: Run, outcome: Outcome, retried: bool, current: bool) -> None:
        if not current:
            log.warning("%s: a late attempt %d was ignored", *_named(run.invocation))
        self._count(run.delivery, outcome, retried)

    def _count(self, delivery: Delivery, outcome: Outcome | None, retried: bool = False) -> None:
        if delivery.close(outcome, retried):
            self._post(delivery.tell_celery)

    # -- what environments tell (EnvironmentListener) -------------------------------------------

    def on_idle(self, environment: Environment) -> None:
        """An environment asks for its next invocation."""
        self._initialised(environment)
        fleet = self._fleet(environment.spec.configuration.name)
        if self._stopping or not fleet.is_current(environment) or self._another_starves(fleet):
            self._end(environment)
            self._serve_all()
            return
        fleet.idle.append(environment)
        self._serve(fleet)

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """An invocation has ended."""
        fleet = self._fleet(environment.spec.configuration.name)
        run = fleet.busy.pop(environment)
        self._close(run, outcome, returned=self._stopping and outcome.fault is RETURNED)

    def on_exit(
        self, environment: Environment, fault: FunctionFault | None, log_lines: tuple[str, ...]
    ) -> None:
        """An environment has ended."""
        failed_to_start = self._initialised(environment)
        fleet = self._fleet(environment.spec.configuration.name)
        self._expiry.pop(environment, None)
        if environment in fleet.idle:
            fleet.idle.remove(environment)
        if fault and failed_to_start and fleet.waiting:
            self._fail(fleet.waiting.popleft(), fault, log_lines)
        self._serve_all()

    # -- environments ---------------------------------------------------------------------------

    def _has_room(self, fleet: Fleet) -> bool:
        """Whether one more environment may start; an idle one of another function gives way."""
        fleets = self._fleets.values()
        if sum(each.starting for each in fleets) >= STARTS:
            return False
        working = sum(each.starting + len(each.busy) for each in fleets)
        if working >= self.limit:
            return False
        if sum(each.size for each in fleets) >= self.limit:
            idle = [each for other in fleets for each in other.idle]
            if idle:
                self._end(min(idle, key=lambda each: each.last_used))
        return True

    def _another_starves(self, fleet: Fleet) -> bool:
        """Whether another function waits without any environment, while this one holds several."""
        working = sum(each.starting + len(each.busy) for each in self._fleets.values())
        if working + 1 < self.limit or fleet.size < 2:
            return False
        return any(each.waiting and each.size == 0 for each in self._fleets.values())

    async def _start(self, fleet: Fleet) -> None:
        """Prepare and start an environment; it reports by `on_idle` or `on_exit`."""
        configuration = fleet.configuration
        assert configuration is not None
        try:
            prepare = partial(self._preparation.prepare, configuration)
            prepared = await self._loop.run_in_executor(self._threads, prepare)
            environment = Environment(prepared.spec, self._zygote, self)
            self._expiry[environment] = prepared
            self._initialising[environment] = fleet
            await environment.start()
        except PackageError as error:
            fleet.starting -= 1
            self._refuse_package(fleet, error)
        except (BucketwheelError, OSError) as error:
            log.warning("%s cannot start, trying again in 1 s: %s", fleet.function, error)
            await asyncio.sleep(1.0)
            fleet.starting -= 1
            self._serve_all()

    def _refuse_package(self, fleet: Fleet, error: PackageError) -> None:
        if fleet.waiting:
            self._fail(fleet.waiting.popleft(), FunctionFault("Runtime.InvalidPackage", str(error)))
        self._serve_all()

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
        self._expiry.pop(environment, None)
        self._spawn(environment.stop(GRACE))

    def _terminate(self, pid: int) -> None:
        for fleet in self._fleets.values():
            for environment in list(fleet.busy):
                if environment.pid == pid:
                    environment.kill(FunctionFault("Terminated", "the task was revoked"))

    async def _reap(self) -> None:
        """Each second: end environments that were idle for too long."""
        while True:
            await asyncio.sleep(1.0)
            before = time.monotonic() - self._settings.idle_timeout
            for fleet in self._fleets.values():
                for environment in fleet.take_idle_before(before):
                    self._end(environment)

    async def _trial(self, spec: EnvironmentSpec, event: bytes) -> Outcome:
        return await Trial(spec, self._zygote).run(event)

    # -- deployments ----------------------------------------------------------------------------

    def _begin_deployment(self, run: Run) -> None:
        if self._stopping:
            self._return(run)
            return
        run.delivery.accepted = True
        self._post(partial(run.delivery.accept, os.getpid(), time.monotonic()))
        carried = self._loop.run_in_executor(self._deployments, self._deploy, run.invocation)
        carried.add_done_callback(partial(self._deployed, run))

    def _deployed(self, run: Run, carried: asyncio.Future[FunctionFault | None]) -> None:
        fault = None if carried.cancelled() else carried.result()
        self._close(run, Outcome(run.invocation, b"null", fault, 0.0, 0), carried.cancelled())

    # -- functions ------------------------------------------------------------------------------

    def _use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        self._functions = functions
        for fleet in self._fleets.values():
            fleet.configuration = functions.get(fleet.function)
            for environment in [each for each in fleet.idle if not fleet.is_current(each)]:
                self._end(environment)
        self._serve_all()

    def _fleet(self, function: str) -> Fleet:
        fleet = self._fleets.get(function)
        if fleet is None:
            fleet = self._fleets[function] = Fleet(function, self._functions.get(function))
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
        for fleet in self._fleets.values():
            self._give_back(fleet)
        deadline = time.monotonic() + self._settings.drain_timeout
        while any(fleet.busy for fleet in self._fleets.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for fleet in self._fleets.values():
            for environment in list(fleet.busy):
                environment.kill(RETURNED)
        idle = [each for fleet in self._fleets.values() for each in fleet.idle]
        await asyncio.gather(*(each.stop(GRACE) for each in idle))
        await self._zygote.stop()

    def _give_back(self, fleet: Fleet) -> None:
        while fleet.waiting:
            self._return(fleet.waiting.popleft())

    def _return(self, run: Run) -> None:
        outcome = Outcome(run.invocation, None, RETURNED, 0.0, 0)
        self._close(run, outcome, returned=True)


#: Not a function's fault: the worker stops, and the invocation goes back in line.
RETURNED: Final = FunctionFault("Returned", "the worker stops; the invocation is queued again")


def _named(invocation: Invocation) -> tuple[str, int]:
    return f"{invocation.function} {invocation.id}", invocation.attempt
