"""The dispatcher: gives invocations to execution environments, and starts and ends these.

Lives on the supervisor's loop. What may start is `workers.scaling`'s to decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Any, Final

from celery.worker import state

from broker import event_age
from broker.invocation import FunctionFault, Outcome
from broker.lineage import Trace, trace
from storage.configuration import FunctionConfiguration
from storage.errors import BucketwheelError, PackageError
from workers import contract, faults
from workers.background import Background
from workers.completion import Completion, Post
from workers.cpu import CpuMeter
from workers.delivery import Delivery, Run
from workers.environment import Environment
from workers.fleet import STARTING, Fleet
from workers.preparation import Preparation, Prepared
from workers.sandbox import Sandboxes
from workers.scaling import CPU, Fleets, Host
from workers.zygote import Forker

log = logging.getLogger("bucketwheel.supervisor")

#: Seconds before a start is tried again that the platform, not the function, has failed.
PAUSE: Final = 1.0
#: Seconds for which work waits for a limit of this host while others live.
PATIENCE: Final = 1.0

Functions = Mapping[str, FunctionConfiguration]
FunctionFleet = Fleet[Environment, Run]
#: Tells the ledger whose invocation an environment has; calls back when it is told.
TellTrace = Callable[[Trace, Callable[[], None]], None]
#: Told which functions' queues to leave alone, whenever that changes.
Rest = Callable[[frozenset[str]], None]


class Dispatcher:
    """Serves the fleets of this host."""

    def __init__(
        self,
        host: Host,
        preparation: Preparation,
        forker: Forker,
        sandboxes: Sandboxes,
        background: Background,
    ) -> None:
        self.fleets: Fleets[Environment, Run] = Fleets(host, time.monotonic)
        self._preparation = preparation
        self._forker = forker
        self._sandboxes = sandboxes
        self._background = background
        self._functions: Functions = {}
        self._hosts = 1
        #: What each environment was prepared with, until it ends.
        self._prepared: dict[Environment, Prepared] = {}
        self._meters: dict[str, CpuMeter] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="preparation")
        self._begun = self._stopping = False

    def serve_for(
        self, completion: Completion, post: Post, rest: Rest, tell_trace: TellTrace
    ) -> None:
        """Take what the worker has: where outcomes go, who consumes queues, who tells traces."""
        self._completion, self._post, self._rest = completion, post, rest
        self._tell_trace = tell_trace

    def begin(self) -> None:
        """Environments can be forked from now on."""
        self._begun = True
        self.serve_all()

    # -- what the supervisor asks ---------------------------------------------------------------

    def expect(self, function: str, invocations: int) -> FunctionFleet:
        """So many invocations of a function are being claimed; fewer when negative."""
        fleet = self._fleet(function)
        fleet.claimed += invocations
        self._look_at_queue(fleet)
        return fleet

    def enqueue(self, run: Run) -> None:
        """An invocation waits for an environment."""
        fleet = self._fleet(run.invocation.function)
        fleet.back_off = 0.0
        self.fleets.enqueue(fleet, run)
        self._serve(fleet)

    def back_off(self, function: str) -> None:
        """The ledger says that as many run on all hosts as are reserved: leave its queue alone."""
        fleet = self._fleet(function)
        fleet.refused(time.monotonic())
        self._look_at_queue(fleet)

    def use(self, functions: Functions) -> None:
        """Take the deployed functions as they now are."""
        self._functions = functions
        for fleet in self.fleets:
            fleet.configuration = functions.get(fleet.function)
            for environment in [each for each in fleet.idle if not _is_current(fleet, each)]:
                self._end(fleet, environment)
            if fleet.configuration is None and not (fleet.size or fleet.queue):
                self.fleets.forget(fleet)
                del self._meters[fleet.function]
        self.share(self._hosts)

    def share(self, hosts: int) -> None:
        """Keep this host's part of what is provisioned, of so many hosts that live."""
        self._hosts = hosts
        for name, each in self._functions.items():
            if each.provisioned_concurrency or each.reserved_concurrency == 0 or self._knows(name):
                fleet = self._fleet(name)
                self.fleets.provision(fleet, ceil(each.provisioned_concurrency / hosts))
                self._look_at_queue(fleet)
        self.serve_all()

    def terminate(self, pid: int) -> None:
        """End the invocation of the environment that has this process id."""
        for fleet in self.fleets:
            for environment in list(fleet.busy):
                if environment.pid == pid:
                    environment.kill(faults.REVOKED)

    def look(self, cold_before: float, idle: float) -> None:
        """Measure what invocations want of the processors, and end what is idle for too long.

        `idle` is the part of the last moments in which the processors were.
        """
        self.fleets.look(idle)
        for fleet in self.fleets:
            wanted = self._meters[fleet.function].measure([*fleet.busy, *fleet.idle[-4:]])
            if wanted is not None:
                self.fleets.measured(fleet, wanted)
            self._look_at_queue(fleet)
        for fleet, environment in self.fleets.cold(cold_before):
            self._end(fleet, environment)
        if self._hosts > 1:
            self._leave_to_others()
        self.serve_all()

    async def drain(self, deadline: float) -> None:
        """Wait for running invocations, put the rest back in line, end every environment."""
        self._stopping = True
        for fleet in self.fleets:
            self._give_back(fleet)
        while self.fleets.busy and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for environment in [each for fleet in self.fleets for each in fleet.busy]:
            environment.kill(faults.RETURNED)
        await asyncio.gather(*(each.stop() for each in list(self._prepared)))
        self._threads.shutdown(cancel_futures=True)

    # -- what environments tell (EnvironmentListener) ---------------------------------------------

    def on_idle(self, environment: Environment) -> None:
        """An environment can take an invocation."""
        fleet = self._fleet(environment.spec.configuration.name)
        is_new = environment in fleet.coming
        if is_new:
            self._meters[fleet.function].begin(environment)
            self.fleets.started(fleet, environment)
        else:
            self.fleets.rest(fleet, environment)
        if self._stopping or not _is_current(fleet, environment):
            self._end(fleet, environment)
        self.serve_all()
        if is_new and environment in fleet.idle:
            environment.is_spare()

    def on_begun(self, environment: Environment) -> None:
        """The runtime has got its invocation: `revoke` names this process."""
        fleet = self._fleet(environment.spec.configuration.name)
        self._accept(fleet.busy[environment].delivery, environment.pid)

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """An invocation has ended."""
        fleet = self._fleet(environment.spec.configuration.name)
        run = self.fleets.finish(fleet, environment)
        fleet.took(outcome.duration_ms / 1000)
        self._look_at_queue(fleet)
        self._completion.close(run, outcome)

    # -- serving ----------------------------------------------------------------------------------

    def serve_all(self) -> None:
        """Serve whoever waits, the one with the fewest at work first; and what is provisioned."""
        for fleet in self.fleets.hungry():
            self._serve(fleet)
        for fleet in self.fleets.short():
            self._serve(fleet)

    def _serve(self, fleet: FunctionFleet) -> None:
        """Give waiting invocations to idle environments; start more where some still wait."""
        if self._stopping:
            return self._give_back(fleet)
        if not self._begun:
            return None
        if fleet.configuration is None:
            return self._refuse(fleet)
        while self._has_next(fleet) and fleet.idle and not self._bars(fleet, start=False):
            self._invoke(fleet)
        while fleet.wants and not self._bars(fleet, start=True):
            self._start(fleet, fleet.configuration)
        if fleet.waiting and fleet.limit not in ("", CPU, STARTING):
            fleet.waiting[0].throttled = True
        return self._look_at_queue(fleet)

    def _has_next(self, fleet: FunctionFleet) -> bool:
        """Whether something waits that is still wanted."""
        while fleet.waiting and (fault := _unwanted(fleet, fleet.waiting[0])):
            self._completion.fail(self.fleets.take(fleet), fault)
        return bool(fleet.waiting)

    def _bars(self, fleet: FunctionFleet, *, start: bool) -> str:
        bars = self.fleets.bars_start if start else self.fleets.bars_invocation
        fleet.limit = bars(fleet)
        return fleet.limit

    def _invoke(self, fleet: FunctionFleet) -> None:
        environment = fleet.idle[-1]
        configuration = environment.spec.configuration
        if not self._prepared[environment].serves(configuration.timeout):
            return self._end(fleet, environment)
        environment, run = self.fleets.invoke(fleet)
        if run.invocation.chain or environment.traced:
            environment.traced = bool(run.invocation.chain)
            told = trace(run.invocation, environment.spec.id)
            self._tell_trace(told, partial(self._hand_over, environment, run))
        else:
            self._hand_over(environment, run)
        return None

    def _hand_over(self, environment: Environment, run: Run) -> None:
        """Give an environment its invocation, unless it has been stopped meanwhile."""
        if environment.state == "idle":
            timeout = run.delivery.timeout(environment.spec.configuration.timeout)
            environment.invoke(run.invocation, timeout)
        else:
            self._completion.give_back(run)

    def _accept(self, delivery: Delivery, pid: int) -> None:
        """Tell Celery that a message's work has begun, and where."""
        if not delivery.accepted:
            delivery.accepted = True
            self._post(partial(delivery.accept, pid, time.monotonic()))

    def _refuse(self, fleet: FunctionFleet) -> None:
        while fleet.waiting:
            self._completion.fail(self.fleets.take(fleet), faults.not_deployed(fleet.function))

    def _give_back(self, fleet: FunctionFleet) -> None:
        while fleet.waiting:
            self._completion.give_back(self.fleets.take(fleet))

    def _leave_to_others(self) -> None:
        """Put back in line what waits for a limit of this host alone."""
        now = time.monotonic()
        for fleet in self.fleets.stuck(now - PATIENCE):
            fleet.throttled_until = now + PATIENCE
            self._give_back(fleet)
            self._look_at_queue(fleet)

    def _look_at_queue(self, fleet: FunctionFleet) -> None:
        """Have the function's queue left alone, or consumed again."""
        if fleet.rest(time.monotonic()):
            names = frozenset(each.function for each in self.fleets if each.at_rest)
            self._rest(names)

    # -- environments -----------------------------------------------------------------------------

    def _start(self, fleet: FunctionFleet, configuration: FunctionConfiguration) -> None:
        """Start an environment, in the place of idle ones where the host has no more room."""
        for other, environment in self.fleets.make_room(fleet):
            self._end(other, environment)
        self.fleets.start(fleet)
        self._background.spawn(self._start_up(fleet, configuration))

    async def _start_up(self, fleet: FunctionFleet, configuration: FunctionConfiguration) -> None:
        """Prepare an environment and start it; it reports by `on_idle`."""
        try:
            await self._launch(fleet, configuration)
            return
        except PackageError as error:
            self._fail_one(fleet, FunctionFault("Runtime.InvalidPackage", str(error)))
        except Exception as error:
            known = isinstance(error, (BucketwheelError, OSError))
            trace = None if known else error
            log.warning("%s cannot start, trying again: %s", fleet.function, error, exc_info=trace)
            await asyncio.sleep(PAUSE)
        self.fleets.fail(fleet, configuration.memory)
        self.serve_all()

    async def _launch(self, fleet: FunctionFleet, configuration: FunctionConfiguration) -> None:
        prepare = partial(self._preparation.prepare, configuration)
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._threads, prepare)
        provisioned = not fleet.waiting and fleet.size <= fleet.provisioned
        kind = contract.PROVISIONED if provisioned else ""
        environment = Environment(prepared.spec, self._forker, self._sandboxes, self, kind)
        self._prepared[environment] = prepared
        fleet.coming.add(environment)
        try:
            await environment.start()
        except BaseException:
            fleet.coming.discard(environment)
            del self._prepared[environment]
            raise

    def _fail_one(self, fleet: FunctionFleet, fault: FunctionFault) -> None:
        if fleet.waiting:
            self._completion.fail(self.fleets.take(fleet), fault)

    def _end(self, fleet: FunctionFleet, environment: Environment) -> None:
        """End an environment that has nothing to do."""
        self.fleets.remove(fleet, environment)
        self._prepared.pop(environment, None)
        self._background.spawn(environment.stop())

    def _knows(self, function: str) -> bool:
        return function in self._meters

    def _fleet(self, function: str) -> FunctionFleet:
        fleet = self.fleets.get(function)
        if not self._knows(function):
            self._meters[function] = CpuMeter()
            fleet.configuration = self._functions.get(function)
        return fleet

    def info(self) -> dict[str, Any]:
        """What Flower's pool tab and `inspect stats` show."""
        fleets = list(self.fleets)
        return {
            "max-concurrency": self.fleets.host.limit,
            "processes": [each.pid for fleet in fleets for each in [*fleet.busy, *fleet.idle]],
            "environments": {fleet.function: fleet.info() for fleet in fleets},
        }


def _is_current(fleet: FunctionFleet, environment: Environment) -> bool:
    """Whether an environment runs the version that is deployed now."""
    current = fleet.configuration
    return current is not None and environment.spec.configuration.version == current.version


def _unwanted(fleet: FunctionFleet, run: Run) -> FunctionFault | None:
    """Why an invocation is not to be run any more: Celery was told to revoke it, or it is old."""
    if run.delivery.task_id in state.revoked:
        return faults.REVOKED
    configuration = fleet.configuration
    if configuration is None or run.invocation.reply:
        return None
    maximum = configuration.maximum_event_age
    return event_age.exceeded(maximum) if run.age > maximum else None
