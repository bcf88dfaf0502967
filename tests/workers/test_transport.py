"""What is in a function's queue: a message that Celery can take, or a reason why not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer
from kombu.transport.virtual import Message
from redis import Redis

from broker import keys, message
from broker.settings import TRANSPORT_OPTIONS
from workers.transport import FunctionTransport, read

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_parts = st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties", "x"])


class _Channel:
    """Decodes bodies as kombu's channel does."""

    def decode_body(self, body: str, encoding: str | None) -> Any:
        return base64.b64decode(body) if encoding == "base64" else body


def _good() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(message.render("crop", ["id"], "photos/in/a.jpg"))
    return found


def test_our_own_message_is_taken() -> None:
    """What intakes write is what workers read."""
    fault, found = read(orjson.dumps(_good()))

    assert fault == ""
    assert found["headers"]["task"] == "crop"


@given(st.binary(max_size=50))
def test_bytes_that_are_no_message_have_a_reason(rubbish: bytes) -> None:
    """Whatever was pushed, the worker goes on."""
    fault, found = read(rubbish)

    assert fault.startswith("a message")
    assert found == {}


@given(changes=st.dictionaries(_parts, _json, max_size=3))
def test_what_is_taken_can_be_made_a_message_by_kombu(changes: dict[str, Any]) -> None:
    """kombu raises whatever there is on another shape, and the worker would end."""
    fault, found = read(orjson.dumps({**_good(), **changes}))
    if not fault:
        made: Any = Message(found, channel=_Channel())

        assert made.delivery_tag
        assert made.headers["id"]


@pytest.mark.parametrize("part", ["body", "headers", "properties", "content-type"])
def test_a_message_without_a_part_is_told_by_its_name(part: str) -> None:
    """Who wrote it must learn what is missing."""
    found = _good()
    del found[part]

    assert part in read(orjson.dumps(found))[0]


def test_a_body_that_is_not_base64_is_refused() -> None:
    """A plain Celery client's body is base64."""
    found = _good()
    found["properties"]["body_encoding"] = "base64"
    found["body"] = "not base64: é"

    assert "base64" in read(orjson.dumps(found))[0]


# -- what is noted in Redis of what is delivered ---------------------------------------------------


class _Consumer:
    """A channel of the workers' transport on the session's Redis, and what it was given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.channel = connection.channel()
        self.taken: list[Any] = []

    def take(self, redis: Redis, item: bytes) -> Any:
        """Put an item into a function's queue, and have it delivered."""
        redis.lpush(keys.queue("crop"), item)
        queue = Queue(keys.queue("crop"), Exchange(""), routing_key=keys.queue("crop"))
        consumer = Consumer(self.channel, [queue], on_message=self.taken.append)
        with consumer:
            self._connection.drain_events(timeout=60)
        return self.taken[-1]


@pytest.fixture
def consumer(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Consumer]:
    monkeypatch.setattr(FunctionTransport, "wake", keys.wake("tried"), raising=False)
    options = {"transport": FunctionTransport, "transport_options": TRANSPORT_OPTIONS}
    with Connection(redis_url, **options) as found:
        yield _Consumer(found)


def _ours() -> bytes:
    return orjson.dumps(_good())


def _theirs() -> bytes:
    """As a plain Celery client sends it."""
    found = _good()
    del found["headers"][message.INVOCATIONS]
    return orjson.dumps(found)


def _noted(redis: Redis) -> int:
    found: Any = redis.hlen("unacked")
    return int(found)


def test_of_our_own_messages_only_the_ledger_knows(consumer: _Consumer, redis: Redis) -> None:
    """The reaper replaces what is lost; others' are noted until they are acknowledged."""
    ours = consumer.take(redis, _ours())
    assert _noted(redis) == 0
    theirs = consumer.take(redis, _theirs())
    assert _noted(redis) == 1

    ours.ack()
    theirs.ack()
    assert _noted(redis) == 0
    assert not redis.exists("unacked_index", keys.queue("crop"))


@pytest.mark.parametrize("make", [_ours, _theirs])
def test_what_is_not_acknowledged_is_queued_again_at_the_end(
    consumer: _Consumer, redis: Redis, make: Callable[[], bytes]
) -> None:
    """A worker that stops leaves to others what it has not begun; what has ended stays ended."""
    consumer.take(redis, make()).ack()
    item = make()
    consumer.take(redis, item)
    consumer.channel.close()

    [again] = cast(list[bytes], redis.lrange(keys.queue("crop"), 0, -1))
    assert message.delivered(again) == message.delivered(item)
    assert orjson.loads(again)["headers"]["redelivered"]
    assert not redis.exists("unacked", "unacked_index")
