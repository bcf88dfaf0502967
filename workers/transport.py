"""Celery's Redis transport, for a worker that must survive what is not a message.

Stock, an item of a queue's list that kombu cannot read ends the worker, or counts as the loss of
its broker. Here it is set aside with its reason, and the worker goes on.

Stock, each message is noted in Redis before it is delivered, and that is taken back when it is
acknowledged: two round trips, a third of a busy worker's time. The ledger has the invocations of
our own messages already, and replaces what is lost; so only others' messages are noted.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from queue import Empty
from typing import Any, Final

import kombu.transport
import orjson
from kombu.transport import virtual
from kombu.transport.redis import Channel, QoS, Transport

from broker.message import INVOCATIONS

#: Takes an item of a queue that is no message: queue, item, what is wrong with it.
Bury = Callable[[str, bytes, str], None]

#: Seconds after which a wake-up that nobody took is gone.
WAKE: Final = 60

_PARTS: Final = ("body", "content-type", "content-encoding", "headers", "properties")


class FunctionQoS(QoS):
    """Holds what is delivered and not yet acknowledged."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Delivery tags of the messages that are noted in Redis, too.
        self.noted: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message is delivered."""
        if message.headers.get(INVOCATIONS):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)
            self.noted.add(delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """All of it has ended, or is kept as a dead letter."""
        if delivery_tag in self.noted:
            super().ack(delivery_tag)
            self.noted.discard(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """None of it has been done."""
        super().reject(delivery_tag, requeue)
        self.noted.discard(delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue: nobody here will run it."""
        message: Any = self._delivered.get(tag)
        if message is None or tag in self.noted:
            super().restore_by_tag(tag, client, leftmost)
            self.noted.discard(tag)
            return
        place = message.delivery_info
        with self.channel.conn_or_acquire(client) as found:
            pipe = found.pipeline()
            self.channel._do_restore_message(
                message._raw, place["exchange"], place["routing_key"], pipe, leftmost
            )
            pipe.execute()


class FunctionChannel(Channel):
    """Reads one item after the other from function queues, and acknowledges them.

    A queue may rest: its messages stay where every worker can take them. Kombu would end the
    consumer for that, and begin another.
    """

    QoS = FunctionQoS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Queues that nothing is taken from for now.
        self.resting: frozenset[str] = frozenset()

    def rest(self, queues: frozenset[str]) -> None:
        """Take nothing from these queues, and from all others again. Hub's thread only."""
        resumed = self.resting - queues
        self.resting = queues
        if resumed and self._in_poll:
            self._wake()

    def _wake(self) -> None:
        """End the wait that is under way: it does not look at what has been resumed since."""
        key, pipeline = FunctionTransport.wake, self._kept.pipeline()
        pipeline.delete(key).rpush(key, b"").expire(key, WAKE).execute()

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a message of any queue that does not rest; kombu's, with a choice of queues."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        keys = [each for each in queues if each not in self.resting]
        self._in_poll = self.client.connection
        self._brpop_sent_at: Any = time.monotonic()
        self.client.connection.send_command(
            "BRPOP", *keys, FunctionTransport.wake, timeout or self.brpop_timeout
        )

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Give the one client that this channel keeps: kombu makes one for every command.

        To make one costs more than the command; only the hub's thread uses a channel.
        """
        yield client or self._kept

    @cached_property
    def _kept(self) -> Any:
        return self._create_client()

    def _brpop_read(self, **options: Any) -> bool:
        """Read a reply to BRPOP and deliver its message; kombu's, with a check in between."""
        try:
            reply = self._read_reply(options)
            if not reply:
                raise Empty()
            queue, item = reply[0].decode(), reply[1]
            if queue == FunctionTransport.wake:
                return True
            self._queue_cycle.rotate(queue)
            fault, message = read(item)
            if fault:
                FunctionTransport.bury(queue, item, fault)
            else:
                self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll: Any = None
            self._flush_brpop_reauth()

    def _read_reply(self, options: dict[str, Any]) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, "BRPOP", **options)
        except self.connection_errors:
            connection.disconnect()  # so that the next round connects anew
            raise


class FunctionTransport(Transport):
    """The transport of our workers, in the place of kombu's."""

    Channel = FunctionChannel
    bury: Bury
    #: Key of the list that ends this worker's wait.
    wake: str

    @classmethod
    def install(cls, bury: Bury, wake: str) -> None:
        """Have `redis://` mean this transport in this process.

        By the scheme's alias, since a transport named in the URL is no URL to Flower any more.
        """
        cls.bury, cls.wake = staticmethod(bury), wake
        kombu.transport.TRANSPORT_ALIASES["redis"] = f"{__name__}:{cls.__name__}"


def read(item: bytes) -> tuple[str, dict[str, Any]]:
    """What is wrong with an item, or nothing; and the message."""
    try:
        message = orjson.loads(item)
    except orjson.JSONDecodeError as error:
        return f"a message is not JSON: {error}", {}
    if not isinstance(message, dict):
        return "a message is no JSON object", {}
    missing = [part for part in _PARTS if part not in message]
    if missing:
        return f"a message has no {missing[0]}", {}
    return _wrong_parts(message), message


def _wrong_parts(message: dict[str, Any]) -> str:
    headers, properties = message["headers"], message["properties"]
    if not isinstance(headers, dict) or not {"task", "id"} <= headers.keys():
        return "a message's headers name no task and id, as Celery's protocol 2 does"
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_tag"), str):
        return "a message's properties have no delivery_tag"
    if not isinstance(properties.get("delivery_info"), dict):
        return "a message's properties have no delivery_info"
    return _wrong_body(message["body"], properties.get("body_encoding"))


def _wrong_body(body: object, encoding: object) -> str:
    if not isinstance(body, str):
        return "a message's body is no text"
    if encoding and encoding != "base64":
        return "a message's body has an encoding that nobody knows"
    if encoding:
        try:
            base64.b64decode(body)
        except ValueError:
            return "a message's body is not base64"
    return ""
