"""Calls by hand: what is refused before anything is queued, and what is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis
from redis.connection import Connection
from redis.exceptions import TimeoutError

from broker import keys
from broker.calls import Calls
from broker.errors import FunctionFailed, InvalidPayload, NoResponse, PayloadTooLarge
from broker.functions import DeployedFunctions
from broker.invocation import MAX_ASYNC_PAYLOAD, MAX_SYNC_PAYLOAD
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.errors import FunctionNotFound
from tests.conftest import wait_until


@pytest.fixture
def calls(redis: Redis, broker: BrokerSettings) -> Calls:
    crop = FunctionConfiguration(
        name="crop", handler="app.crop", code_sha256="0" * 64, deployed_at=datetime.now(UTC)
    )
    DeployedFunctions(redis).add([crop])
    return Calls(broker)


def _text(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


def test_a_payload_up_to_the_quota_is_taken_and_a_byte_more_is_not(calls: Calls) -> None:
    """AWS Lambda's quotas: 1 MB when nobody waits, 6 MB when somebody does."""
    assert calls.enqueue("crop", _text(MAX_ASYNC_PAYLOAD))
    with pytest.raises(PayloadTooLarge):
        calls.enqueue("crop", _text(MAX_ASYNC_PAYLOAD + 1))
    with pytest.raises(PayloadTooLarge):
        calls.invoke("crop", _text(MAX_SYNC_PAYLOAD + 1), 1.0)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"nan", b"{'a': 1}"])
def test_what_is_not_json_is_refused(calls: Calls, redis: Redis, payload: bytes) -> None:
    """The handler would get it as it is."""
    with pytest.raises(InvalidPayload):
        calls.enqueue("crop", payload)
    assert not redis.llen(keys.queue("crop"))


def test_an_unknown_function_is_refused(calls: Calls) -> None:
    """A typing mistake is told at once, not found in a queue later."""
    with pytest.raises(FunctionNotFound, match="'corp'"):
        calls.enqueue("corp", b"{}")


def test_the_response_is_given_as_it_came(calls: Calls, redis: Redis) -> None:
    """Bytes of the function's JSON, not a rendering of them."""
    with _answered(redis, b'{"response":{"a":  1}}'):
        assert calls.invoke("crop", b"{}", 30.0) == b'{"a":  1}'


def test_a_response_that_is_lost_on_its_way_is_read_again(
    calls: Calls, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis stands still, the caller connects anew; its first question is answered all the same."""
    lost: list[bytes] = []

    def lose(connection: Connection, *arguments: Any, **options: Any) -> Any:
        answer = read(connection, *arguments, **options)
        if not lost and b"response" in str(answer).encode():
            lost.append(answer)
            raise TimeoutError("it stood still")
        return answer

    read = Connection.read_response
    monkeypatch.setattr(Connection, "read_response", lose)
    with _answered(redis, b'{"response":1}'):
        assert calls.invoke("crop", b"{}", 10.0) == b"1"

    assert lost
    assert not redis.keys(keys.reply("*"))


def test_a_response_that_was_read_by_who_ended_then_expires(redis: Redis) -> None:
    """Redis gives it to who waits without taking it away, or its time."""
    key = keys.reply("1")
    reading = threading.Thread(target=redis.blmove, args=(key, key, 30, "LEFT", "RIGHT"))
    reading.start()
    clients: Any = lambda: redis.info("clients")  # noqa: E731
    wait_until(lambda: clients()["blocked_clients"], "somebody waits")
    redis.eval("redis.call('RPUSH', KEYS[1], 'x') redis.call('EXPIRE', KEYS[1], 60)", 1, key)
    reading.join()

    assert redis.lrange(key, 0, -1) == [b"x"]
    assert 0 < int(redis.ttl(key)) <= 60


def test_a_functions_error_is_raised_with_type_message_and_trace(
    calls: Calls, redis: Redis
) -> None:
    """AWS's errorType, errorMessage, stackTrace."""
    fault = b'{"fault":{"type":"ValueError","message":"no photo","trace":["line 1"]}}'

    with _answered(redis, fault), pytest.raises(FunctionFailed) as raised:
        calls.invoke("crop", b"{}", 30.0)
    assert raised.value.fault.type == "ValueError"
    assert raised.value.fault.trace == ("line 1",)


def test_a_call_without_an_answer_ends_in_a_sentence_with_its_id(calls: Calls) -> None:
    """Who gives up must be able to look for the invocation."""
    with pytest.raises(NoResponse, match=r"invocation [0-9a-f-]{36}"):
        calls.invoke("crop", b"{}", 0.1)


@contextmanager
def _answered(redis: Redis, reply: bytes) -> Iterator[None]:
    """Meanwhile, answer the next invocation as a worker does."""

    def answer() -> None:
        wait_until(lambda: redis.zcard(keys.queued("crop")), "the call is queued")
        ids: Any = redis.zrange(keys.queued("crop"), 0, -1)
        redis.rpush(keys.reply(ids[0].decode()), reply)

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    thread.join()
