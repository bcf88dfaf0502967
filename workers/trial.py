"""A trial: one event in an environment of its own, which ends with it."""

from __future__ import annotations

import asyncio
import uuid

from broker.invocation import Invocation, Outcome
from workers.environment import Environment
from workers.sandbox import EnvironmentSpec, Sandboxes
from workers.zygote import Forker


class Trial:
    """Deployment tries a package in it: user code runs nowhere else."""

    def __init__(self, spec: EnvironmentSpec, forker: Forker, sandboxes: Sandboxes) -> None:
        self._environment = Environment(spec, forker, sandboxes, self)
        self._function = spec.configuration.name
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def run(self, event: bytes) -> Outcome:
        """Start, invoke once, stop; an environment that cannot start is an outcome too."""
        self._invocation = Invocation(str(uuid.uuid4()), self._function, event, attempt=1)
        try:
            await self._environment.start()
            return await self._outcome
        finally:
            await self._environment.stop()

    def on_idle(self, environment: Environment) -> None:
        """Give it the one event."""
        if not self._outcome.done():
            environment.invoke(self._invocation)

    def on_begun(self, environment: Environment) -> None:
        """Nobody asks."""

    def on_outcome(self, environment: Environment, outcome: Outcome) -> None:
        """Keep the outcome."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)
