"""The steps of a deployment, told by whoever carries it out to whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from redis import Redis

from broker import keys

#: Seconds for which the steps can be read.
KEPT: Final = 3_600
#: Deployments whose ends are logged.
ENTRIES: Final = 2_000

State = Literal["received", "validating", "active", "failed"]


class Reason(BaseModel):
    """Why a deployment failed, in AWS's names."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    trace: tuple[str, ...] = ()


class DeploymentStep(BaseModel):
    """One step; `active` and `failed` are the last."""

    model_config = ConfigDict(frozen=True)

    state: State
    message: str
    fault: Reason | None = None
    #: Name and version of each function that has become active.
    functions: tuple[tuple[str, int], ...] = ()


def _in_words(step: DeploymentStep) -> str:
    return f"{step.fault.type}: {step.fault.message}" if step.fault else step.message


class Deployments:
    """Tells and follows the steps of deployments."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def tell(self, deployment: str, step: DeploymentStep) -> None:
        """Append a step; the last is also logged, for whoever does not follow."""
        pipeline = self._redis.pipeline()
        pipeline.xadd(keys.deployment(deployment), {"step": step.model_dump_json()}, maxlen=100)
        pipeline.expire(keys.deployment(deployment), KEPT)
        if step.state in ("active", "failed"):
            text: Any = {"text": f"deployment {deployment} {step.state}: {_in_words(step)}"}
            pipeline.xadd(keys.logs(keys.DEPLOY), text, maxlen=ENTRIES)
        pipeline.execute()

    def refuse(self, deployment: str, reason: Reason) -> None:
        """Tell that a package is bad, and count it: `bucketwheel status` shows it."""
        counters = keys.counters(keys.DEPLOY)
        step = DeploymentStep(state="failed", message=reason.message, fault=reason)
        pipeline = self._redis.pipeline()
        pipeline.hincrby(counters, "failed", 1)
        pipeline.hset(counters, "last_error", f"deployment {deployment}: {_in_words(step)}"[:500])
        pipeline.execute()
        self.tell(deployment, step)

    def follow(self, deployment: str, timeout: float) -> Iterator[DeploymentStep]:
        """Each step as it comes, until the last one or until `timeout` seconds without any."""
        after, silent_since = "0", time.monotonic()
        while time.monotonic() - silent_since < timeout:
            for id, step in self._after(deployment, after):
                after, silent_since = id, time.monotonic()
                yield step
                if step.state in ("active", "failed"):
                    return

    def _after(self, deployment: str, after: str) -> list[tuple[str, DeploymentStep]]:
        key = keys.deployment(deployment)
        # XRANGE after a blocking XREAD: its reply has one shape in every protocol version.
        self._redis.xread({key: after}, count=1, block=500)
        found: Any = self._redis.xrange(key, min=f"({after}" if after != "0" else "-")
        return [
            (id.decode(), DeploymentStep.model_validate_json(fields[b"step"]))
            for id, fields in found
        ]
