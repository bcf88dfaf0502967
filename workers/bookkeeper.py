"""The bookkeeper: the supervisor's way to the ledger, in a thread of its own.

The supervisor never waits for Redis: it leaves claims and closings here, and is called back on its
loop. Whatever has gathered while one round trip is under way goes into the next, so that a busy
worker pays a fraction of a round trip for each invocation. While Redis is away everything waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from broker.connection import UNAVAILABLE
from broker.ledger import Begun, Claim, Closing, Ledger

log = logging.getLogger("bucketwheel.bookkeeper")

#: Closings and claims of one round trip.
BATCH: Final = 100

T = TypeVar("T")
Then = Callable[[Begun], None]
Closed = Callable[[bool], None]


class Bookkeeper:
    """Carries claims and closings to the ledger; start, run_once, stop."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._loop = loop
        self._claims: deque[tuple[Claim, Then]] = deque()
        self._closings: deque[tuple[Closing, Closed]] = deque()
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

    def run_once(self) -> None:
        """One round trip with all that waits, up to a batch."""
        closings = _first(self._closings)
        claims = _first(self._claims)
        closed, begun = self._ledger.exchange([c for c, _ in closings], [c for c, _ in claims])
        for _ in closings:
            self._closings.popleft()
        for _ in claims:
            self._claims.popleft()
        answers = [(then, done) for (_, then), done in zip(closings, closed, strict=True)]
        begins = [(then, invocation) for (_, then), invocation in zip(claims, begun, strict=True)]
        self._loop.call_soon_threadsafe(_tell, answers, begins)

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            while self._claims or self._closings:
                if not self._try_once() and self._stopping.is_set():
                    return
            if self._stopping.is_set():
                return

    def _try_once(self) -> bool:
        try:
            self.run_once()
        except UNAVAILABLE as error:
            log.warning("Redis does not answer, trying again in 0.5 s: %s", error)
            self._stopping.wait(0.5)
            return False
        except Exception:
            log.exception("the ledger refused %d closings", len(self._closings))
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
