"""The ledger: one attempt at a time, fenced, and nothing closed twice."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from broker import keys
from broker.invocation import FunctionFault, Invocation, Outcome, Throttled
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.publication import FUNCTIONS_CHANGED, NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings

FAULT = FunctionFault("ValueError", "no photo", ("line 1",))


@pytest.fixture
def settings(redis_url: str) -> BrokerSettings:
    return BrokerSettings(redis_url=SecretStr(redis_url), retry_delay=30.0)


@pytest.fixture
def ledger(redis: Redis, settings: BrokerSettings) -> Ledger:
    redis.set(keys.worker_alive("w1"), "1")
    return Ledger(redis, "w1", settings)


def _publish(redis: Redis, settings: BrokerSettings, reply: bool = False) -> str:
    id = str(uuid.uuid4())
    publication = Publication([NewInvocation(id, "crop", b'{"a":1}', "x")], reply=reply)
    assert Publisher(redis, settings).publish(publication, b"") == 1
    return id


def _begin(ledger: Ledger, id: str) -> Invocation:
    _, begun = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun[0], Invocation)
    return begun[0]


def _end(ledger: Ledger, invocation: Invocation, fault: FunctionFault | None = None) -> bool:
    response = None if fault else b'"done"'
    outcome = Outcome(invocation, response, fault, 1.0, 30, log=("START", "END"))
    closed, _ = ledger.exchange([Closing(outcome, retries=1)], [])
    return closed[0]


def test_a_published_invocation_is_claimed_run_and_gone(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """The life of an invocation without faults leaves nothing but a count and a log."""
    id = _publish(redis, settings)
    invocation = _begin(ledger, id)

    assert (invocation.event, invocation.attempt) == (b'{"a":1}', 1)
    assert _end(ledger, invocation)
    assert not redis.exists(keys.invocation(id))
    assert redis.hget(keys.counters("crop"), "succeeded") == b"1"
    assert redis.xlen(keys.logs("crop")) == 1


def test_the_same_event_is_published_once(redis: Redis, settings: BrokerSettings) -> None:
    """A replayed event is dropped while it is remembered."""
    publication = Publication([NewInvocation("same", "crop", b"{}")])
    publisher = Publisher(redis, settings)

    assert publisher.publish(publication, b"") == 1
    assert publisher.publish(publication, b"") == 0


def test_what_a_living_worker_runs_cannot_be_claimed_by_another(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """Nothing runs twice at the same time."""
    id = _publish(redis, settings)
    _begin(ledger, id)
    _, begun = Ledger(redis, "w2", settings).exchange([], [Claim(id, "crop")])

    assert begun == [None]


def test_a_late_attempt_cannot_close_a_newer_one(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """Completion is compare-and-set by attempt: the second attempt stays protected."""
    id = _publish(redis, settings)
    first = _begin(ledger, id)
    redis.delete(keys.worker_alive("w1"))
    second_ledger = Ledger(redis, "w2", settings)
    second = _begin(second_ledger, id)

    assert second.attempt == 2
    assert not _end(ledger, first)
    assert redis.exists(keys.invocation(id))
    assert _end(second_ledger, second)


def test_a_failure_is_delayed_then_given_up(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """After the allowed retries an invocation is a dead letter with its reason and event."""
    id = _publish(redis, settings)
    first = _begin(ledger, id)
    assert _end(ledger, first, FAULT)
    assert redis.hget(keys.invocation(id), "state") == b"delayed"
    due: Any = redis.zscore(keys.DELAYED, id)
    seconds, _ = redis.time()
    assert 25 < due / 1000 - seconds < 35

    redis.hset(keys.invocation(id), "state", "queued")
    assert _end(ledger, _begin(ledger, id), FAULT)
    kept: Any = redis.hget(keys.DEAD, id)
    letter = json.loads(kept)
    assert letter["fault"]["type"] == "ValueError"
    assert letter["event"] == '{"a":1}'
    assert not redis.exists(keys.invocation(id))


def test_who_waits_is_answered_and_a_failed_call_is_not_retried(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """`invoke(wait=True)` gets the function's error at once, as with AWS."""
    id = _publish(redis, settings, reply=True)
    assert _end(ledger, _begin(ledger, id), FAULT)

    answer: Any = redis.lpop(keys.reply(id))
    reply = json.loads(answer)
    assert reply == {"fault": {"type": "ValueError", "message": "no photo", "trace": ["line 1"]}}
    assert not redis.exists(keys.invocation(id))
    assert not redis.zcard(keys.DELAYED)


def test_a_plain_celery_message_enters_the_ledger_once(redis: Redis, ledger: Ledger) -> None:
    """A redelivered message of a client that knows no ledger runs once."""
    claim = Claim("task-1", "crop", b'{"by": "celery"}')
    _, begun = ledger.exchange([], [claim])
    assert isinstance(begun[0], Invocation) and begun[0].event == b'{"by": "celery"}'
    assert _end(ledger, begun[0])

    assert ledger.exchange([], [claim]) == ([], [None])


def test_no_more_than_the_reserved_concurrency_is_claimed_over_all_hosts(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """What is refused is the next in line again, is counted once, and runs when a place is free."""
    redis.set(keys.worker_alive("w2"), "1")
    other = Ledger(redis, "w2", settings)
    first, second = _publish(redis, settings), _publish(redis, settings)
    redis.delete(keys.queue("crop"))
    running = _begin(ledger, first)

    for _ in range(2):
        _, begun = other.exchange([], [Claim(second, "crop", reserved=1)])
        assert begun == [Throttled(second, "crop")]
    messages: Any = redis.lrange(keys.queue("crop"), 0, -1)

    assert [delivered(each) for each in messages] == [[second], [second]]
    assert redis.hget(keys.counters("crop"), "throttled") == b"1"
    assert redis.zscore(keys.queued("crop"), second)
    assert _end(ledger, running)
    _, begun = other.exchange([], [Claim(second, "crop", reserved=1)])
    assert isinstance(begun[0], Invocation)


def test_a_dead_workers_invocation_leaves_its_place(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """A reserved concurrency of one is not used up by what a dead worker held."""
    id = _publish(redis, settings)
    _begin(ledger, id)
    redis.delete(keys.worker_alive("w1"))
    redis.set(keys.worker_alive("w2"), "1")

    _, begun = Ledger(redis, "w2", settings).exchange([], [Claim(id, "crop", reserved=1)])

    assert isinstance(begun[0], Invocation) and begun[0].attempt == 2
    assert redis.smembers(keys.concurrent("crop")) == {id.encode()}


def test_scripts_are_sent_again_after_redis_forgot_them(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """A restarted Redis knows no scripts: closings must not be lost on that."""
    invocation = _begin(ledger, _publish(redis, settings))
    redis.script_flush()

    assert _end(ledger, invocation)


def test_a_publication_by_stale_functions_does_nothing(
    redis: Redis, settings: BrokerSettings
) -> None:
    """Events uploaded after a deployment are matched with the new functions."""
    redis.incr(keys.GENERATION)
    publication = Publication([NewInvocation("x", "crop", b"{}")])

    assert Publisher(redis, settings).publish(publication, b"") == FUNCTIONS_CHANGED
    assert not redis.exists(keys.invocation("x"))


def test_a_deep_backlog_shares_messages(redis: Redis, settings: BrokerSettings) -> None:
    """Every invocation is in exactly one message, and alone in the ledger."""
    many = [NewInvocation(f"id{n}", "crop", b"{}") for n in range(100)]
    Publisher(redis, settings).publish(Publication(many), b"")
    messages: Any = redis.lrange(keys.queue("crop"), 0, -1)

    assert len(messages) < 100
    assert sorted(id for each in messages for id in delivered(each)) == sorted(e.id for e in many)


def test_a_returned_invocation_is_queued_again_without_counting_as_failed(
    redis: Redis, settings: BrokerSettings, ledger: Ledger
) -> None:
    """A stopping worker gives back what it has not run."""
    invocation = _begin(ledger, _publish(redis, settings))
    outcome = Outcome(invocation, None, FAULT, 0.0, 0)
    closing = Closing(outcome, retries=0, returned=True)
    ledger.exchange([closing], [])

    assert redis.hget(keys.invocation(invocation.id), "failures") == b"0"
    assert redis.zcard(keys.DELAYED) == 1
    assert replace(closing).returned
