"""The store of dead letters: found in pieces, retried once, purged."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from broker import keys
from broker.dead_letter import DeadLetter, parse, undeliverable
from broker.dead_letters import STEP, DeadLetters, Selection
from broker.errors import DeadLetterNotFound
from broker.invocation import FunctionFault, Invocation
from broker.ledger import Claim, Ledger
from broker.message import delivered, render
from broker.publication import Publisher
from broker.settings import BrokerSettings

FAULT = FunctionFault("ValueError", "no photo")


@pytest.fixture
def letters(redis: Redis) -> DeadLetters:
    redis.hset(keys.FUNCTIONS, "crop", 1)
    return DeadLetters(redis)


def _keep(redis: Redis, broker: BrokerSettings, letter: DeadLetter, hours: float = 0.0) -> str:
    Publisher(redis, broker).keep(letter)
    redis.zadd(keys.DEAD_INDEX, {letter.id: (time.time() - hours * 3600) * 1000})
    return letter.id


def _letter(function: str = "crop", fault: FunctionFault = FAULT) -> DeadLetter:
    return DeadLetter(str(uuid.uuid4()), function, b'{"a":1}', fault, attempts=3)


def _found(letters: DeadLetters, **selected: Any) -> list[str]:
    pieces = letters.find(Selection(**selected))
    return [letter.id for piece in pieces for letter in piece.letters]


@given(text=st.text(), trace=st.lists(st.text(), max_size=3), event=st.text())
def test_a_letter_is_read_as_it_was_written(text: str, trace: list[str], event: str) -> None:
    """Whatever its event and error hold."""
    letter = DeadLetter(
        "id", "crop", event.encode(), FunctionFault(text, text, tuple(trace)), 2, 3, "redis:x"
    )
    again = parse(letter.render())

    assert again.at.isoformat(timespec="seconds") == letter.at.isoformat(timespec="seconds")
    assert (again.event, again.fault, again.destination) == (letter.event, letter.fault, "redis:x")


def test_letters_are_found_by_function_reason_and_age(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """The newest first; all that is said must fit."""
    old = _keep(redis, broker, _letter(), hours=3)
    new = _keep(redis, broker, _letter())
    other = _keep(redis, broker, _letter("count", FunctionFault("KeyError", "x")), hours=1)

    assert _found(letters) == [new, other, old]
    assert _found(letters, function="crop") == [new, old]
    assert _found(letters, reason="keyerr") == [other]
    assert _found(letters, older_than=1800.0) == [other, old]
    assert _found(letters, newer_than=7200.0) == [new, other]
    assert _found(letters, older_than=1800.0, newer_than=7200.0) == [other]
    assert _found(letters, ids=(old, "none")) == [old]
    assert letters.count(Selection(older_than=1800.0)) == 2


def test_many_letters_are_read_in_pieces_while_they_are_purged(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """None is missed though the ranks change, and no piece is larger than a step."""
    for n in range(3 * STEP + 7):
        _keep(redis, broker, _letter(), hours=n)
    purged = 0
    for piece in letters.find(Selection()):
        assert len(piece.letters) <= STEP
        purged += letters.purge(piece.letters)

    assert purged == 3 * STEP + 7
    assert letters.count() == 0
    assert not redis.exists(keys.DEAD, keys.DEAD_INDEX)


def test_a_retried_letter_is_an_invocation_again_under_its_id(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """With its attempts anew; retried again, it is gone already and nothing runs twice."""
    letter = _letter()
    _keep(redis, broker, letter)

    assert letters.retry([letter]) == {"retried": 1, "unusable": 0}
    assert letters.retry([letter]) == {"gone": 1, "unusable": 0}
    messages: Any = redis.lrange(keys.queue("crop"), 0, -1)
    assert [delivered(each) for each in messages] == [[letter.id]]
    redis.set(keys.worker_alive("w1"), "1")
    _, begun = Ledger(redis, "w1", broker).exchange([], [Claim(letter.id, "crop")])
    assert isinstance(begun[0], Invocation)
    assert (begun[0].event, begun[0].attempt, begun[0].failures) == (b'{"a":1}', 1, 0)
    assert letters.count() == 0


def test_a_letter_of_a_function_that_is_gone_stays(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """Nobody would take it from its queue."""
    letter = _letter("gone")
    _keep(redis, broker, letter)

    assert letters.retry([letter])["not deployed"] == 1
    assert letters.count() == 1
    assert not redis.exists(keys.queue("gone"))


def test_an_undelivered_record_is_sent_again(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """The function has run: it is not run again, its record goes into the outbox."""
    fault = FunctionFault("DestinationDeliveryFailures", "away")
    letter = DeadLetter("id", "crop", b'{"version":"1.0"}', fault, 12, destination="redis:ends")
    _keep(redis, broker, letter)

    assert letters.retry([letter])["retried"] == 1
    assert redis.hmget(keys.outgoing("id"), "destination", "record", "tries") == [
        b"redis:ends",
        b'{"version":"1.0"}',
        b"0",
    ]
    assert not redis.exists(keys.invocation("id"))


def test_an_unreadable_notification_is_read_again(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """A newer version may understand it."""
    letter = undeliverable("id", keys.INTAKE, b"strange", "of no known shape")
    _keep(redis, broker, letter)

    assert letters.retry([letter])["retried"] == 1
    assert redis.lrange(keys.EVENTS, 0, -1) == [b"strange"]


def test_a_foreign_message_is_put_back_into_its_queue(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """Once its function is deployed; what is no message at all stays."""
    item = render("crop", ["task"], "")
    letter = undeliverable("id", keys.WORKER, item, "Function not found: crop")
    broken = undeliverable("id2", keys.WORKER, b"junk", "no message")
    for each in (letter, broken):
        _keep(redis, broker, each)

    assert letters.retry([letter, broken]) == {"retried": 1, "unusable": 1}
    assert redis.lrange(keys.queue("crop"), 0, -1) == [item]
    assert letters.count() == 1


def test_a_letter_whose_event_is_in_line_again_is_not_entered_twice(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """Its event came again after it was forgotten: it runs under this id already."""
    letter = _letter()
    _keep(redis, broker, letter)
    redis.hset(keys.invocation(letter.id), mapping={"state": "running", "function": "crop"})

    assert letters.retry([letter])["retried"] == 1
    assert not redis.exists(keys.queue("crop"))
    assert redis.hget(keys.invocation(letter.id), "state") == b"running"


def test_an_unknown_id_is_said_to_be_unknown(letters: DeadLetters) -> None:
    """Not a stack trace."""
    with pytest.raises(DeadLetterNotFound, match="dead list"):
        letters.get("none")


def test_a_letter_shows_what_it_was_kept_with(
    redis: Redis, broker: BrokerSettings, letters: DeadLetters
) -> None:
    """Event, fault, attempts."""
    letter = _letter()
    _keep(redis, broker, letter)

    assert orjson.loads(letters.get(letter.id).event) == {"a": 1}
    assert letters.get(letter.id).attempts == 3
