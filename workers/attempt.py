"""An attempt: one invocation in an environment's hands, from `invoke` to its outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import orjson

from broker.invocation import FunctionFault, Invocation, Outcome
from workers import faults
from workers.function_log import closing_lines, start_line
from workers.sandbox import EnvironmentSpec


@dataclass(slots=True)
class Attempt:
    """What is known of it while it lasts."""

    invocation: Invocation
    #: Seconds that it may take.
    timeout: float
    begun: float = field(default_factory=time.monotonic)
    #: Whether the runtime has got it.
    handed: bool = False

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds until its deadline."""
        return self.timeout - self.seconds

    def outcome(
        self,
        spec: EnvironmentSpec,
        response: bytes | None,
        fault: FunctionFault | None,
        peak_mb: int,
        init_ms: float | None,
        printed: tuple[str, ...],
    ) -> Outcome:
        """How it has ended, with its log: START, what was printed, END, REPORT."""
        configuration = spec.configuration
        outcome = Outcome(
            invocation=self.invocation,
            response=response,
            fault=fault,
            duration_ms=self.seconds * 1000,
            max_memory_mb=peak_mb,
            init_ms=init_ms,
            version=configuration.version,
            environment=spec.id,
        )
        start = start_line(self.invocation, configuration)
        return replace(outcome, log=(start, *printed, *closing_lines(outcome, configuration)))


def judged(
    body: bytes, headers: dict[str, str], awaited: bool
) -> tuple[bytes | None, FunctionFault | None]:
    """What a posted response is: one to hand on, or a fault.

    A failure in mid-stream comes in trailers. Only what is awaited must be JSON, since somebody
    reads it: Python's runtime may write NaN, which is none; a stream that is none becomes a text.
    """
    failed = headers.get("lambda-runtime-function-error-type")
    if failed is not None:
        return None, faults.broken_off(failed, headers)
    if not awaited or _is_json(body):
        return body, None
    if headers.get("lambda-runtime-function-response-mode") == "streaming":
        return orjson.dumps(body.decode("utf-8", "replace")), None
    return None, faults.not_json()


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
