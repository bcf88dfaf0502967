"""Batches: records gather, are delivered together, and each has an end of its own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from broker import keys
from broker.batches import NAMED, PIECE, Batching, failed_records
from broker.errors import InvalidBatchResponse
from broker.invocation import MAX_SYNC_PAYLOAD, FunctionFault, Invocation, Outcome, Throttled
from broker.ledger import Claim, Closing, Ledger
from broker.message import delivered
from broker.publication import NewInvocation, Publication, Publisher
from broker.reaper import WORKERS_LOST, Reaper
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration

FAULT = FunctionFault("ValueError", "no photo", ("line 1",))


@pytest.fixture
def ledger(redis: Redis, broker: BrokerSettings) -> Ledger:
    redis.set(keys.worker_alive("w1"), "1")
    return Ledger(redis, "w1", broker)


@pytest.fixture
def reaper(redis: Redis) -> Reaper:
    return Reaper(redis)


def _publish(
    redis: Redis, broker: BrokerSettings, ids: Iterable[str], batching: Batching, text: str = ""
) -> int:
    """Publish records, as an intake does."""
    records = [{"messageId": id, "text": text} for id in ids]
    invocations = [
        NewInvocation(
            str(each["messageId"]), "crop", orjson.dumps({"Records": [each]}), batching=batching
        )
        for each in records
    ]
    return Publisher(redis, broker).publish(Publication(invocations), b"")


def _ids(count: int) -> list[str]:
    return [f"r{n}" for n in range(count)]


def _queued(redis: Redis) -> list[str]:
    messages: Any = redis.lrange(keys.queue("crop"), 0, -1)
    return [id for each in reversed(messages) for id in delivered(each)]


def _begin(ledger: Ledger, id: str) -> Invocation:
    _, begun = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun[0], Invocation)
    return begun[0]


def _batches(redis: Redis, ledger: Ledger) -> list[Invocation]:
    """All that is queued, taken by a worker."""
    found = [_begin(ledger, id) for id in _queued(redis)]
    redis.delete(keys.queue("crop"))
    return found


def _records(invocation: Invocation) -> list[str]:
    return [each["messageId"] for each in orjson.loads(invocation.event)["Records"]]


def _end(
    ledger: Ledger,
    invocation: Invocation,
    fault: FunctionFault | None = None,
    failed: tuple[str, ...] = (),
    retries: int = 2,
) -> bool:
    outcome = Outcome(invocation, None if fault else b"null", fault, 1.0, 30, log=("START",))
    closed, _ = ledger.exchange([Closing(outcome, retries, failed=failed)], [])
    return closed[0]


def _state(redis: Redis, id: str) -> str:
    found: Any = redis.hget(keys.invocation(id), "state")
    return found.decode() if found else ""


def _due_now(redis: Redis) -> None:
    """Let all delays be over: the clock itself cannot be set."""
    delayed: Any = redis.zrange(keys.DELAYED, 0, -1)
    if delayed:
        redis.zadd(keys.DELAYED, dict.fromkeys(delayed, 0))


def _retried(redis: Redis, reaper: Reaper, ledger: Ledger) -> list[Invocation]:
    """What is tried again once its delay is over."""
    _due_now(redis)
    reaper.run_once()
    return _batches(redis, ledger)


def _letters(redis: Redis) -> dict[str, dict[str, Any]]:
    found: Any = redis.hgetall(keys.DEAD)
    return {id.decode(): orjson.loads(each) for id, each in found.items()}


def _unfinished(redis: Redis) -> list[bytes]:
    """Keys of the ledger that are left."""
    patterns = ("invocation:*", "batch:*", "gathering*", "settling", "delayed", "running:*")
    return [key for each in patterns for key in redis.scan_iter(f"bucketwheel:{each}")]


# -- gathering -------------------------------------------------------------------------------------


def test_a_batch_closes_at_its_size(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """What fills it goes at once, in the order in which it came; the rest waits for more."""
    assert _publish(redis, broker, _ids(7), Batching(3, 60)) == 7
    assert reaper.close_batches() == 2

    first, second = _batches(redis, ledger)
    assert (_records(first), _records(second)) == (["r0", "r1", "r2"], ["r3", "r4", "r5"])
    assert (first.records, second.records) == (3, 3)
    assert _state(redis, "r6") == "batched"


def test_a_batch_closes_when_its_window_is_over(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """The window begins with its first record, and later ones do not move it."""
    _publish(redis, broker, ["r0"], Batching(100, 60))
    due: Any = redis.zrange(keys.GATHERING, 0, -1, withscores=True)
    _publish(redis, broker, ["r1"], Batching(100, 60))
    assert redis.zrange(keys.GATHERING, 0, -1, withscores=True) == due
    assert reaper.close_batches() == 0
    seconds, _ = redis.time()
    [(batch, moment)] = due
    assert 50 < moment / 1000 - seconds <= 61

    redis.zadd(keys.GATHERING, {batch: 0})
    assert reaper.close_batches() == 1
    _publish(redis, broker, ["r2"], Batching(100, 60))
    assert [_records(each) for each in _batches(redis, ledger)] == [["r0", "r1"]]


def test_without_a_window_what_comes_together_goes_together(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Nothing waits for anything."""
    _publish(redis, broker, _ids(4), Batching(10, 0))
    reaper.close_batches()
    _publish(redis, broker, ["r4"], Batching(10, 0))
    reaper.close_batches()

    assert [_records(each) for each in _batches(redis, ledger)] == [_ids(4), ["r4"]]


def test_a_batch_closes_before_it_outgrows_what_a_function_takes(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Its event is within 6 MB, and so full that no record more would go in."""
    ids = _ids(20)
    _publish(redis, broker, ids, Batching(10_000, 300), "x" * 500_000)
    reaper.close_batches()
    batch: Any = redis.get(keys.gathering("crop"))
    redis.zadd(keys.GATHERING, {batch: 0})
    reaper.close_batches()

    first, second = _batches(redis, ledger)
    assert _records(first) + _records(second) == ids
    assert len(first.event) <= MAX_SYNC_PAYLOAD < len(first.event) + 500_000


def test_a_batch_may_have_exactly_the_bytes_that_are_allowed(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """What is counted while records gather is what the event comes to."""
    _publish(redis, broker, _ids(3), Batching(3, 60), "é")
    reaper.close_batches()
    [batch] = _batches(redis, ledger)

    assert redis.hget(keys.invocation(batch.id), "bytes") == str(len(batch.event)).encode()


def test_ten_thousand_records_are_one_batch(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """They are settled in pieces, by whoever comes, and nothing is left."""
    ids = _ids(10_000)
    _publish(redis, broker, ids, Batching(10_000, 60))
    reaper.close_batches()
    [batch] = _batches(redis, ledger)
    assert _records(batch) == ids
    assert _end(ledger, batch, failed=("r5", "r9999"))

    assert redis.llen(keys.batch(batch.id)) == len(ids) - PIECE
    reaper.settle_batches()
    assert redis.hget(keys.counters("crop"), "succeeded") == b"9998"
    assert [_records(each) for each in _retried(redis, reaper, ledger)] == [["r5"], ["r9999"]]


def test_a_record_that_is_told_again_is_in_one_batch(
    redis: Redis, broker: BrokerSettings, reaper: Reaper
) -> None:
    """Each is remembered by its own id."""
    assert _publish(redis, broker, _ids(2), Batching(10, 0)) == 2
    assert _publish(redis, broker, _ids(3), Batching(10, 0)) == 1
    batch: Any = redis.get(keys.gathering("crop"))

    assert redis.lrange(keys.batch(batch.decode()), 0, -1) == [b"r0", b"r1", b"r2"]


def test_a_batch_is_filled_up_after_its_intake_has_died(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """No process holds anything of it: whatever intake lives closes it."""
    _publish(redis, broker, _ids(3), Batching(3, 60))

    assert not _queued(redis)
    reaper.run_once()
    assert [_records(each) for each in _batches(redis, ledger)] == [_ids(3)]


# -- ends ------------------------------------------------------------------------------------------


def _batch(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper, size: int = 3
) -> Invocation:
    _publish(redis, broker, _ids(size), Batching(size, 60))
    reaper.close_batches()
    [found] = _batches(redis, ledger)
    return found


def test_a_batch_that_succeeds_closes_each_of_its_records(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """The life of a batch without faults leaves nothing but counts and a log."""
    assert _end(ledger, _batch(redis, broker, ledger, reaper))

    assert not _unfinished(redis)
    assert redis.hget(keys.counters("crop"), "succeeded") == b"3"
    assert redis.xlen(keys.logs("crop")) == 1


def test_records_that_are_named_are_retried_each_alone(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """The others count as done, and are not delivered again."""
    assert _end(ledger, _batch(redis, broker, ledger, reaper), failed=("r0", "r2"))

    again = _retried(redis, reaper, ledger)
    assert [_records(each) for each in again] == [["r0"], ["r2"]]
    assert [(each.id, each.attempt, each.failures, each.records) for each in again] == [
        ("r0", 2, 1, 0),
        ("r2", 2, 1, 0),
    ]
    assert all(_end(ledger, each) for each in again)
    assert not _unfinished(redis)
    counted: Any = redis.hgetall(keys.counters("crop"))
    assert (counted[b"succeeded"], counted[b"failed"], counted[b"retried"]) == (b"3", b"2", b"2")


def test_a_batch_that_fails_is_retried_whole_and_in_the_end_each_record_alone(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """A bad record does not take the others along."""
    _end(ledger, _batch(redis, broker, ledger, reaper), FAULT)
    [whole] = _retried(redis, reaper, ledger)
    assert (_records(whole), whole.failures) == (_ids(3), 1)
    _end(ledger, whole, FAULT)
    alone = _retried(redis, reaper, ledger)
    assert [_records(each) for each in alone] == [["r0"], ["r1"], ["r2"]]
    for each in alone:
        _end(ledger, each, FAULT if each.id == "r1" else None)

    assert not _unfinished(redis)
    assert list(_letters(redis)) == ["r1"]
    assert redis.hget(keys.counters("crop"), "succeeded") == b"2"


def test_each_record_without_a_retry_left_is_a_dead_letter_of_its_own(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """With its own event and the reason, so that it can be retried by hand."""
    _end(ledger, _batch(redis, broker, ledger, reaper), FAULT, retries=0)
    assert not _retried(redis, reaper, ledger)

    letters = _letters(redis)
    assert sorted(letters) == _ids(3)
    assert letters["r1"]["fault"]["message"] == "no photo"
    assert orjson.loads(letters["r1"]["event"])["Records"][0]["messageId"] == "r1"
    assert not _unfinished(redis)


def test_a_named_record_without_a_retry_left_is_a_dead_letter(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Its reason is that the function named it."""
    _end(ledger, _batch(redis, broker, ledger, reaper), failed=("r1",), retries=0)
    reaper.run_once()

    assert {id: each["fault"]["type"] for id, each in _letters(redis).items()} == {"r1": NAMED.type}
    assert not _unfinished(redis)


def test_each_record_that_is_given_up_is_told_to_its_functions_destination(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """AWS's destination for failures gets single records, too."""
    function = FunctionConfiguration(
        name="crop",
        handler="app.handler",
        batch_size=3,
        on_failure="redis:failed",
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
    )
    reaper.use({"crop": function})
    _end(ledger, _batch(redis, broker, ledger, reaper), FAULT, retries=0)
    reaper.run_once()

    assert not _letters(redis)
    assert sorted(redis.zrange(keys.outbox("crop"), 0, -1)) == [b"r0", b"r1", b"r2"]


def test_a_batch_waits_for_the_reserved_concurrency_as_one(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """It is the next in line again, and runs when a place is free."""
    _publish(redis, broker, _ids(4), Batching(2, 60))
    reaper.close_batches()
    first, second = _queued(redis)
    redis.delete(keys.queue("crop"))
    _, begun = ledger.exchange([], [Claim(id, "crop", reserved=1) for id in (first, second)])
    assert isinstance(begun[0], Invocation) and begun[1] == Throttled(second, "crop")

    assert _end(ledger, begun[0])
    assert [_records(each) for each in _batches(redis, ledger)] == [["r2", "r3"]]


def test_a_batch_comes_back_when_its_worker_dies(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Whole, and the late end of the first attempt changes nothing."""
    redis.sadd(keys.WORKERS, "w1")
    first = _batch(redis, broker, ledger, reaper)
    redis.delete(keys.worker_alive("w1"))
    assert reaper.bury_workers() == 1
    redis.set(keys.worker_alive("w2"), "1")
    other = Ledger(redis, "w2", broker)
    [second] = _batches(redis, other)

    assert (_records(second), second.attempt) == (_ids(3), 2)
    assert not _end(ledger, first)
    assert _end(other, second)
    assert not _unfinished(redis)


def test_a_record_that_no_worker_survives_does_not_take_its_batch_along(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """After three workers each record is tried alone."""
    _batch(redis, broker, ledger, reaper)
    for lost in range(WORKERS_LOST):
        redis.sadd(keys.WORKERS, f"w{lost + 1}")
        redis.delete(keys.worker_alive(f"w{lost + 1}"))
        redis.delete(keys.PREFIX + "reaping")  # nobody was away, though this machine stood still
        reaper.run_once()
        redis.set(keys.worker_alive(f"w{lost + 2}"), "1")
        if lost + 1 < WORKERS_LOST:
            [whole] = _batches(redis, Ledger(redis, f"w{lost + 2}", broker))
            assert _records(whole) == _ids(3)

    last = Ledger(redis, f"w{WORKERS_LOST + 1}", broker)
    alone = _retried(redis, reaper, last)
    assert [_records(each) for each in alone] == [["r0"], ["r1"], ["r2"]]
    assert all(_end(last, each) for each in alone)
    assert not _unfinished(redis)


def test_a_message_of_a_batch_that_has_ended_begins_nothing(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Celery may deliver it again while its records are being settled."""
    size = PIECE + 1
    _publish(redis, broker, _ids(size), Batching(size, 60))
    reaper.close_batches()
    [batch] = _batches(redis, ledger)
    _end(ledger, batch)
    assert _state(redis, batch.id) == "settling"

    assert ledger.exchange([], [Claim(batch.id, "crop")]) == ([], [None])


def test_a_stopping_worker_gives_a_batch_back(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Not run, and not counted as a failure."""
    batch = _batch(redis, broker, ledger, reaper)
    outcome = Outcome(batch, None, FAULT, 0.0, 0)
    ledger.exchange([Closing(outcome, retries=0, returned=True)], [])

    [again] = _retried(redis, reaper, ledger)
    assert (_records(again), again.failures) == (_ids(3), 0)


def test_batches_and_single_invocations_end_in_one_round_trip(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """Whoever closes several learns of each whether it was the current attempt."""
    batch = _batch(redis, broker, ledger, reaper)
    Publisher(redis, broker).publish(Publication([NewInvocation("one", "crop", b"{}")]), b"")
    single = _begin(ledger, "one")
    late = Outcome(Invocation("gone", "crop", b"{}", 1), b"1", None, 1.0, 1)
    outcomes = [Outcome(batch, b"1", None, 1.0, 1), late, Outcome(single, b"1", None, 1.0, 1)]

    closed, _ = ledger.exchange([Closing(each, retries=0) for each in outcomes], [])
    assert closed == [True, False, True]
    assert not _unfinished(redis)


def test_a_batch_has_come_as_far_as_its_farthest_record(
    redis: Redis, broker: BrokerSettings, ledger: Ledger, reaper: Reaper
) -> None:
    """A loop is not hidden by records from outside that are in the same batch."""
    batching = Batching(3, 60)
    chains = [{}, {"generation": "2", "chain": "a 1\nb 2"}, {"generation": "1", "chain": "c 3"}]
    records = [
        NewInvocation(f"r{n}", "crop", b'{"Records":[{}]}', batching=batching, fields=chain)
        for n, chain in enumerate(chains)
    ]
    Publisher(redis, broker).publish(Publication(records), b"")
    reaper.close_batches()
    [batch] = _batches(redis, ledger)

    assert batch.chain == ("a 1", "b 2")


# -- what a function answers -----------------------------------------------------------------------

EVENT = orjson.dumps({"Records": [{"messageId": id} for id in _ids(3)]})


@pytest.mark.parametrize(
    "response",
    [
        b"null",
        b"{}",
        b"3",
        b"[]",
        b"\xff NaN",
        b'"batchItemFailures"',
        b'{"batchItemFailures": null}',
        b'{"batchItemFailures": []}',
        b'{"other": [{"itemIdentifier": "r1"}]}',
    ],
)
def test_a_response_that_names_nothing_is_a_success(response: bytes) -> None:
    """As AWS has it: an empty or null list, an empty or null response, or another one."""
    assert failed_records(EVENT, response) == ()


def test_a_response_names_records_each_once() -> None:
    """By the identifier that they came with."""
    named = [{"itemIdentifier": id} for id in ("r2", "r0", "r2")]

    assert failed_records(EVENT, orjson.dumps({"batchItemFailures": named})) == ("r2", "r0")


@pytest.mark.parametrize(
    "failures",
    [
        "3",
        "[",
        '["r1"]',
        '[{"itemIdentifier": ""}]',
        '[{"itemIdentifier": null}]',
        '[{"ItemIdentifier": "r1"}]',
        '[{"itemIdentifier": "r9"}]',
        '[{"itemIdentifier": ["r1"]}]',
    ],
)
def test_a_response_that_names_what_is_no_record_fails_the_batch(failures: str) -> None:
    """As AWS has it: an empty, missing or unknown identifier is one for all records."""
    with pytest.raises(InvalidBatchResponse, match=r"batchItemFailures|not JSON"):
        failed_records(EVENT, b'{"batchItemFailures": ' + failures.encode() + b"}")


_KEYS = st.text() | st.just("itemIdentifier")
_JSON = st.recursive(
    st.none() | st.text() | st.integers(0, 9) | st.sampled_from(_ids(4)),
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
)


@given(_JSON)
def test_no_response_ends_in_another_error(failures: Any) -> None:
    """Whatever a function answers, its records are accounted for."""
    try:
        found = failed_records(EVENT, orjson.dumps({"batchItemFailures": failures}))
    except InvalidBatchResponse:
        return
    assert set(found) <= set(_ids(3))
