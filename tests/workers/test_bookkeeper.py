"""The bookkeeper: claims and closings reach the ledger, in their order, whatever Redis does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from broker.invocation import Invocation, Outcome
from broker.ledger import Begun, Claim, Closing
from broker.lineage import Trace
from tests.conftest import wait_until
from workers.bookkeeper import BATCH, Bookkeeper


class _Ledger:
    """A ledger in memory, which may be away."""

    def __init__(self) -> None:
        self.away = threading.Event()
        self.trips: list[tuple[int, int]] = []
        self.traces: list[Trace] = []
        self.refused = threading.Event()

    def exchange(
        self, closings: Sequence[Closing], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Invocation | None]]:
        if self.away.is_set():
            raise ConnectionError("away")
        self.trips.append((len(closings), len(claims)))
        begun = [Invocation(each.id, each.function, b"{}", 1) for each in claims]
        return [True] * len(closings), list(begun)

    def trace(self, traces: Sequence[Trace]) -> None:
        if self.away.is_set():
            self.refused.set()
            raise ConnectionError("away")
        self.traces += traces


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _closing() -> Closing:
    return Closing(Outcome(Invocation("id", "crop", b"{}", 1), b"1", None, 1.0, 1), retries=0)


def test_everything_that_waits_shares_round_trips(loop: asyncio.AbstractEventLoop) -> None:
    """A busy worker pays a fraction of a round trip for each invocation."""
    ledger = _Ledger()
    begun: list[Begun] = []
    bookkeeper = Bookkeeper(ledger, loop)  # type: ignore[arg-type]
    for n in range(2 * BATCH):
        bookkeeper.claim(Claim(str(n), "crop"), begun.append)
    bookkeeper.start()
    wait_until(lambda: len(begun) == 2 * BATCH, "all are claimed")
    bookkeeper.stop(5.0)

    ids = [each.id for each in begun if isinstance(each, Invocation)]
    assert ids == [str(n) for n in range(2 * BATCH)]
    assert ledger.trips == [(0, BATCH), (0, BATCH)]


def test_nothing_is_lost_while_redis_is_away(loop: asyncio.AbstractEventLoop) -> None:
    """What ended meanwhile is closed when Redis is back."""
    ledger = _Ledger()
    closed: list[bool] = []
    ledger.away.set()
    bookkeeper = Bookkeeper(ledger, loop)  # type: ignore[arg-type]
    bookkeeper.start()
    for _ in range(10):
        bookkeeper.close(_closing(), closed.append)
    ledger.away.clear()
    wait_until(lambda: len(closed) == 10, "all are closed")
    bookkeeper.stop(5.0)

    assert all(closed)


def test_a_stop_carries_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    """A drained worker's last closings must not wait for a lease to lapse."""
    ledger = _Ledger()
    closed: list[bool] = []
    bookkeeper = Bookkeeper(ledger, loop)  # type: ignore[arg-type]
    bookkeeper.start()
    for _ in range(10):
        bookkeeper.close(_closing(), closed.append)
    bookkeeper.stop(5.0)
    bookkeeper.stop(5.0)

    assert sum(closings for closings, _ in ledger.trips) == 10


def test_a_trace_is_told_before_its_invocation_is_handed_over(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A handler's write may come back before it ends: while Redis is away it does not begin."""
    ledger, handed = _Ledger(), threading.Event()
    ledger.away.set()
    bookkeeper = Bookkeeper(ledger, loop)  # type: ignore[arg-type]
    trace = Trace("e1", ("crop 1",))
    known: list[Trace] = []

    def hand_over() -> None:
        known.extend(ledger.traces)
        handed.set()

    bookkeeper.trace(trace, hand_over)
    bookkeeper.start()
    wait_until(ledger.refused.is_set, "it was tried in vain")
    assert not handed.is_set()
    ledger.away.clear()
    wait_until(handed.is_set, "it is handed over")
    bookkeeper.stop(5.0)

    assert known == [trace]
