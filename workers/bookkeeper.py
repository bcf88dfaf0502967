"""The bookkeeper: the supervisor's way to the ledger, in a thread of its own.

The supervisor never waits for Redis: it leaves claims and closings here, and is called back on its
loop. Whatever has gathered while one round trip is under way goes into the next, so that a busy
worker pays a fraction of a round trip for each invocation. While Redis is away everything waits.

An answer may be lost with its connection, and a crash of Redis may undo what it has answered: now
and then what the ledger has this worker hold is compared with what is known here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from broker.connection import UNAVAILABLE
from broker.invocation import Invocation
from broker.ledger import Begun, Claim, Closing, Ledger
from broker.lineage import Trace

log = logging.getLogger("bucketwheel.bookkeeper")

#: Closings and claims of one round trip.
BATCH: Final = 100
#: Seconds between comparisons of the ledger with what is known here.
COMPARING: Final = 3.0

T = TypeVar("T")
Then = Callable[[Begun], None]
Closed = Callable[[bool], None]
Traced = Callable[[], None]


class Bookkeeper:
    """Carries claims and closings to the ledger; start, run_once, stop."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._loop = loop
        self._claims: deque[tuple[Claim, Then]] = deque()
        self._closings: deque[tuple[Closing, Closed]] = deque()
        self._traces: deque[tuple[Trace, Traced]] = deque()
        #: Invocations that this worker has begun and not closed, each with its attempt.
        self._begun: dict[str, int] = {}
        self._next_comparison = time.monotonic() + COMPARING
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """Carry what is left, for at most `deadline` seconds; stopping twice is safe."""
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(deadline)

    def claim(self, claim: Claim, then: Then) -> None:
        """Claim an invocation; `then` gets on the loop what came of it."""
        self._claims.append((claim, then))
        self._work.set()

    def close(self, closing: Closing, then: Closed) -> None:
        """Close an attempt; `then` learns on the loop whether it was the current one."""
        self._closings.append((closing, then))
        self._work.set()

    def trace(self, trace: Trace, then: Traced) -> None:
        """Tell whose invocation an environment has; `then` is called on the loop."""
        self._traces.append((trace, then))
        self._work.set()

    def run_once(self) -> None:
        """One round trip with all that waits, up to a batch; and one for traces, if any do."""
        self._tell_traces()
        closings = _first(self._closings)
        claims = _first(self._claims)
        closed, begun = self._ledger.exchange([c for c, _ in closings], [c for c, _ in claims])
        self._note([c for c, _ in closings], begun)
        for _ in closings:
            self._closings.popleft()
        for _ in claims:
            self._claims.popleft()
        answers = [(then, done) for (_, then), done in zip(closings, closed, strict=True)]
        begins = [(then, invocation) for (_, then), invocation in zip(claims, begun, strict=True)]
        self._loop.call_soon_threadsafe(_tell, answers, begins)

    def _run(self) -> None:
        while True:
            self._work.wait(COMPARING)
            self._work.clear()
            self._try(self._compare)
            while self._claims or self._closings or self._traces:
                if not self._try(self.run_once) and self._stopping.is_set():
                    return
                self._try(self._compare)
            if self._stopping.is_set():
                return

    def _tell_traces(self) -> None:
        traces = _first(self._traces)
        if not traces:
            return
        self._ledger.trace([trace for trace, _ in traces])
        for _ in traces:
            _, then = self._traces.popleft()
            self._loop.call_soon_threadsafe(then)

    def _note(self, closings: list[Closing], begun: list[Begun]) -> None:
        for closing in closings:
            ended = closing.outcome.invocation
            if self._begun.get(ended.id) == ended.attempt:
                del self._begun[ended.id]
        for each in begun:
            if isinstance(each, Invocation):
                self._begun[each.id] = each.attempt

    def _compare(self) -> None:
        """Give back what the ledger has this worker hold, and it knows nothing of.

        Here, where all claims are made: none can come in between.
        """
        if time.monotonic() < self._next_comparison:
            return
        self._next_comparison = time.monotonic() + COMPARING
        count = self._ledger.forget(self._begun.keys())
        if count:
            log.warning("%d invocations are given back whose claim or end was lost", count)

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except UNAVAILABLE as error:
            log.warning("Redis does not answer, trying again in 0.5 s: %s", error)
            self._stopping.wait(0.5)
            return False
        except Exception:
            log.exception("the ledger refused %s", step.__name__)
            self._stopping.wait(0.5)
            return False
        return True


def _first(waiting: deque[T]) -> list[T]:
    return [waiting[at] for at in range(min(len(waiting), BATCH))]


def _tell(answers: list[tuple[Closed, bool]], begins: list[tuple[Then, Begun]]) -> None:
    for closed, done in answers:
        closed(done)
    for begun, invocation in begins:
        begun(invocation)
