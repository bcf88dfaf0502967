"""What the ledger has a worker hold and the worker knows nothing of comes back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from broker import keys
from broker.invocation import Invocation, Outcome
from broker.ledger import Begun, Claim, Closing, Ledger
from broker.publication import NewInvocation, Publication, Publisher
from broker.reaper import Reaper
from broker.settings import BrokerSettings
from workers import bookkeeper
from workers.bookkeeper import Bookkeeper


class _Deaf(Ledger):
    """A ledger whose next answer is lost with its connection."""

    deaf = False

    def exchange(
        self, closings: Sequence[Closing], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Begun]]:
        """Carry it out, and lose the answer."""
        answers = super().exchange(closings, claims)
        if self.deaf:
            self.deaf = False
            raise ConnectionError("Connection closed by server.")
        return answers


@pytest.fixture
def ledger(redis: Redis, broker: BrokerSettings) -> _Deaf:
    redis.set(keys.worker_alive("w1"), "1")
    return _Deaf(redis, "w1", broker)


def _publish(redis: Redis, broker: BrokerSettings) -> str:
    id = str(uuid.uuid4())
    Publisher(redis, broker).publish(Publication([NewInvocation(id, "crop", b"{}")]), b"")
    return id


class _Books(Bookkeeper):
    """A bookkeeper that is driven by hand, and compares at once."""

    def __init__(self, ledger: Ledger) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(ledger, self.loop)
        self.begun: list[Begun] = []

    def compare(self) -> None:
        """As if the time had come."""
        self._next_comparison = time.monotonic() - bookkeeper.COMPARING
        self._compare()

    def take(self, id: str) -> None:
        """Claim, until there is an answer."""
        self.claim(Claim(id, "crop"), self.begun.append)
        while not self._try(self.run_once):
            pass
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


def test_a_claim_whose_answer_was_lost_is_given_back(
    redis: Redis, broker: BrokerSettings, ledger: _Deaf
) -> None:
    """Asked again, the ledger says that a living worker holds it: this one, which never learned."""
    id = _publish(redis, broker)
    books = _Books(ledger)
    ledger.deaf = True
    books.take(id)
    assert books.begun == [None]
    assert redis.hget(keys.invocation(id), "state") == b"running"

    books.compare()
    assert redis.hget(keys.invocation(id), "state") == b"delayed"
    assert not redis.exists(keys.running("w1"), keys.concurrent("crop"))
    assert Reaper(redis).retry_due() == 1
    books.loop.close()


def test_what_runs_is_not_given_back(redis: Redis, broker: BrokerSettings, ledger: _Deaf) -> None:
    """However often it is compared."""
    id = _publish(redis, broker)
    books = _Books(ledger)
    books.take(id)
    books.compare()

    assert redis.hget(keys.invocation(id), "state") == b"running"
    books.loop.close()


def test_an_end_that_a_crash_of_redis_has_undone_is_made_up_for(
    redis: Redis, broker: BrokerSettings, ledger: _Deaf
) -> None:
    """The worker has closed it, and Redis came back with an older state: it is run again."""
    id = _publish(redis, broker)
    books = _Books(ledger)
    books.take(id)
    before: Any = redis.hgetall(keys.invocation(id))
    (invocation,) = books.begun
    assert isinstance(invocation, Invocation)
    closing = Closing(Outcome(invocation, b"1", None, 1.0, 1), retries=0)
    books.close(closing, lambda closed: None)
    books.run_once()
    redis.hset(keys.invocation(id), mapping=before)
    redis.hset(keys.running("w1"), id, "crop")
    redis.sadd(keys.concurrent("crop"), id)

    books.compare()
    assert redis.hget(keys.invocation(id), "state") == b"delayed"
    books.loop.close()
