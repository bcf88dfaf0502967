"""Calling a function by hand: enqueue an event, or enqueue it and wait for the response."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import orjson
from redis import Redis

from broker import keys
from broker.connection import UNAVAILABLE, connect
from broker.dead_letter import from_json
from broker.errors import FunctionFailed, InvalidPayload, NoResponse, PayloadTooLarge
from broker.invocation import MAX_ASYNC_PAYLOAD, MAX_SYNC_PAYLOAD
from broker.publication import NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings
from storage.errors import FunctionNotFound


class Calls:
    """Queues events for functions by hand; any number of threads may share one."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._redis: Redis = connect(settings)
        self._publisher = Publisher(self._redis, settings)

    def enqueue(self, function: str, payload: bytes) -> str:
        """Queue an event for a function; returns the invocation id.

        Raises:
            FunctionNotFound, InvalidPayload, PayloadTooLarge (over 1 MB).
        """
        _check(payload, MAX_ASYNC_PAYLOAD)
        return self._publish(function, payload, reply=False)

    def invoke(self, function: str, payload: bytes, timeout: float) -> bytes:
        """Queue an event, wait up to `timeout` seconds for the response; returns it as JSON.

        A failed call is not retried: the caller is told.

        Raises:
            FunctionFailed, FunctionNotFound, InvalidPayload, NoResponse, PayloadTooLarge (over
            6 MB).
        """
        _check(payload, MAX_SYNC_PAYLOAD)
        id = self._publish(function, payload, reply=True)
        reply = self._wait(id, timeout)
        if reply is None:
            raise NoResponse(
                f"{function} gave no response within {timeout:g} s (invocation {id}); it may still"
                " run: see `bucketwheel status` and `bucketwheel logs`"
            )
        return _response(reply)

    def _publish(self, function: str, payload: bytes, *, reply: bool) -> str:
        invocation = NewInvocation(str(uuid.uuid4()), function, payload, "by hand")
        if not self._publisher.enter(Publication([invocation], reply=reply), function):
            raise FunctionNotFound(
                f"no function {function!r} is deployed: `bucketwheel functions` lists them"
            )
        return invocation.id

    def _wait(self, id: str, timeout: float) -> bytes | None:
        """Wait in steps shorter than the connection's own time limit.

        The reply is left where it is until it has come: a connection that breaks under the answer
        is opened anew, and asked again.
        """
        left, key = timeout, keys.reply(id)
        while left > 0:
            seconds: Any = min(left, 2.0)  # parts of seconds too, whatever redis-py's type says
            found: Any = self._redis.blmove(key, key, seconds, "LEFT", "RIGHT")
            if found is not None:
                with suppress(*UNAVAILABLE):  # it expires, too
                    self._redis.unlink(key)
                return bytes(found)
            left -= 2.0
        return None


def _response(reply: bytes) -> bytes:
    if reply.startswith(b'{"response":'):
        return reply[len(b'{"response":') : -1]
    raise FunctionFailed(from_json(orjson.loads(reply)["fault"]))


def _check(payload: bytes, most: int) -> None:
    if len(payload) > most:
        raise PayloadTooLarge(
            f"the payload has {len(payload):,} bytes; at most {most:,} are allowed here"
            " (put large data into a bucket and send its key)"
        )
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidPayload(f"the payload is not JSON: {error}") from None
