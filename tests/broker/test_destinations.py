"""Destinations: each record arrives, whatever dies on the way, and says what AWS's says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from minio import Minio
from pydantic import AnyHttpUrl, SecretStr
from redis import Redis

from broker import keys, lineage
from broker.deliverer import Deliverer
from broker.functions import DeployedFunctions
from broker.invocation import FunctionFault, Invocation, Outcome
from broker.ledger import Claim, Closing, Ledger
from broker.outbox import Outbox
from broker.publication import NewInvocation, Publication, Publisher
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.errors import FunctionNotFound
from storage.roles import Roles
from storage.settings import StorageSettings
from tests.conftest import serving, wait_until

FAULT = FunctionFault("ValueError", "no photo", ("line 1",))


@pytest.fixture
def settings(redis_url: str) -> BrokerSettings:
    return BrokerSettings(
        redis_url=SecretStr(redis_url), destination_delay=0.01, destination_tries=3
    )


@pytest.fixture
def ledger(redis: Redis, settings: BrokerSettings) -> Ledger:
    redis.set(keys.worker_alive("w1"), "1")
    return Ledger(redis, "w1", settings, "eu-central-1")


def _configuration(name: str, **values: Any) -> FunctionConfiguration:
    fixed: dict[str, Any] = {"name": name, "handler": "app.crop", "code_sha256": "0" * 64}
    return FunctionConfiguration(**fixed, deployed_at=datetime.now(UTC), **values)


def _ended(
    redis: Redis,
    ledger: Ledger,
    settings: BrokerSettings,
    destination: str,
    fault: FunctionFault | None = None,
    fields: dict[str, str] | None = None,
) -> str:
    """An invocation that has ended, with the same destination for both ends."""
    id = str(uuid.uuid4())
    invocation = NewInvocation(id, "crop", b'{"a":1}', fields=fields or {})
    generation = DeployedFunctions(redis).generation()
    assert Publisher(redis, settings).publish(Publication([invocation]), generation) == 1
    _end(ledger, id, destination, fault)
    return id


def _end(ledger: Ledger, id: str, destination: str, fault: FunctionFault | None = None) -> None:
    _, begun = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun[0], Invocation)
    outcome = Outcome(begun[0], None if fault else b'{"b": 2}', fault, 1.0, 30, version=4)
    closing = Closing(outcome, retries=0, on_success=destination, on_failure=destination)
    assert ledger.exchange([closing], [])[0] == [True]


@contextmanager
def _delivering(
    settings: BrokerSettings, storage: StorageSettings, *functions: FunctionConfiguration
) -> Iterator[None]:
    known = {each.name: each for each in functions}

    def load(name: str) -> FunctionConfiguration:
        if name not in known:
            raise FunctionNotFound(f"no function {name!r} is deployed")
        return known[name]

    deliverer = Deliverer(settings, storage, load)
    deliverer.start()
    try:
        yield
    finally:
        deliverer.stop()


@pytest.fixture
def nowhere() -> StorageSettings:
    """A store that no record of these tests goes to."""
    return StorageSettings(
        s3_endpoint=AnyHttpUrl("http://127.0.0.1:9"),
        s3_access_key="none",
        s3_secret_key=SecretStr("none-at-all"),
    )


class _Receiver(ThreadingHTTPServer):
    """Answers with given statuses in turn, the last of them for ever."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ends?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        self.server.paths.append(self.path)
        if status == 200:
            self.server.got.append(json.loads(content))
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _receiving(*statuses: int) -> Iterator[_Receiver]:
    server = _Receiver(*statuses)
    with serving(server):
        yield server


def _popped(redis: Redis, name: str) -> dict[str, Any]:
    found: Any = wait_until(lambda: redis.lpop(name), f"a record is in {name}")
    record: dict[str, Any] = json.loads(found)
    return record


def _is_empty(redis: Redis) -> bool:
    return not redis.keys(keys.PREFIX + "outgoing:*") and not redis.zcard(keys.outbox("crop"))


def test_a_success_is_told_in_awss_words(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """The record has AWS's shape, field by field."""
    with _delivering(settings, nowhere):
        id = _ended(redis, ledger, settings, "redis:ends")
        record = _popped(redis, "ends")

    assert datetime.fromisoformat(record.pop("timestamp")).tzinfo is not None
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": id,
            "functionArn": "arn:aws:lambda:eu-central-1:000000000000:function:crop:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "4"},
        "responsePayload": {"b": 2},
    }
    assert _is_empty(redis)


def test_a_failure_is_told_instead_of_being_a_dead_letter(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """With the function's error as the response."""
    with _delivering(settings, nowhere):
        id = _ended(redis, ledger, settings, "redis:ends", FAULT)
        record = _popped(redis, "ends")

    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"] == {
        "errorType": "ValueError",
        "errorMessage": "no photo",
        "stackTrace": ["line 1"],
    }
    assert not redis.hexists(keys.DEAD, id)


def test_a_failure_that_is_tried_again_is_not_told(
    redis: Redis, ledger: Ledger, settings: BrokerSettings
) -> None:
    """Only the invocation's end is."""
    id = str(uuid.uuid4())
    Publisher(redis, settings).publish(Publication([NewInvocation(id, "crop", b"{}")]), b"")
    _, begun = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun[0], Invocation)
    outcome = Outcome(begun[0], None, FAULT, 1.0, 30)
    ledger.exchange([Closing(outcome, retries=2, on_failure="redis:ends")], [])

    assert redis.hget(keys.invocation(id), "state") == b"delayed"
    assert _is_empty(redis)


def test_who_waits_is_answered_and_nobody_else_told(
    redis: Redis, ledger: Ledger, settings: BrokerSettings
) -> None:
    """Destinations are for asynchronous invocations, as with AWS."""
    id = str(uuid.uuid4())
    publication = Publication([NewInvocation(id, "crop", b"{}")], reply=True)
    Publisher(redis, settings).publish(publication, b"")
    _end(ledger, id, "redis:ends")

    assert redis.llen(keys.reply(id)) == 1
    assert _is_empty(redis)


def test_a_late_attempt_tells_nothing(
    redis: Redis, ledger: Ledger, settings: BrokerSettings
) -> None:
    """What is told is entered by the transaction that ends the invocation, which is fenced."""
    id = str(uuid.uuid4())
    Publisher(redis, settings).publish(Publication([NewInvocation(id, "crop", b"{}")]), b"")
    _, begun = ledger.exchange([], [Claim(id, "crop")])
    assert isinstance(begun[0], Invocation)
    redis.delete(keys.worker_alive("w1"))
    Ledger(redis, "w2", settings).exchange([], [Claim(id, "crop")])
    late = Closing(Outcome(begun[0], b"1", None, 1.0, 30), retries=0, on_success="redis:ends")

    assert ledger.exchange([late], [])[0] == [False]
    assert _is_empty(redis)


def test_a_function_gets_a_record_as_its_event_once(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """Also when it is sent again, since a deliverer has died before it could say so."""
    DeployedFunctions(redis).add([_configuration("next")])
    id = _ended(redis, ledger, settings, "function:next")
    waiting: Any = redis.hgetall(keys.outgoing(id))
    with _delivering(settings, nowhere):
        wait_until(lambda: _is_empty(redis), "it is delivered")
        redis.hset(keys.outgoing(id), mapping=waiting)
        redis.zadd(keys.outbox("crop"), {id: 1})
        wait_until(lambda: _is_empty(redis), "it is delivered again")

    queued: Any = redis.zrange(keys.queued("next"), 0, -1)
    (entered,) = queued
    entry: Any = redis.hgetall(keys.invocation(entered.decode()))
    assert json.loads(entry[b"event"])["requestContext"]["requestId"] == id
    assert entry[b"chain"].decode() == f"crop {id}"


def test_a_chain_over_destinations_ends_as_one_over_buckets_does(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """A function whose destination leads back to it must not go on for ever."""
    target = _configuration("next")
    DeployedFunctions(redis).add([target])
    chain = tuple(f"crop {n}" for n in range(lineage.MOST))
    with _delivering(settings, nowhere, target):
        id = _ended(redis, ledger, settings, "function:next", fields=lineage.fields(chain))
        wait_until(lambda: redis.hexists(keys.DEAD, id), "it is given up")

    letter: Any = redis.hget(keys.DEAD, id)
    assert json.loads(letter)["fault"]["type"] == "RecursiveInvocationException"
    assert not redis.zcard(keys.queued("next"))


def test_an_address_is_posted_to_until_it_takes_the_record(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """Two refusals are survived, the record is sent as JSON."""
    with _receiving(500, 503, 200) as server, _delivering(settings, nowhere):
        id = _ended(redis, ledger, settings, server.url)
        wait_until(lambda: server.got, "it was taken")
        wait_until(lambda: _is_empty(redis), "it is struck off")

    assert [each["requestContext"]["requestId"] for each in server.got] == [id]


@pytest.mark.parametrize("status", [404, 307])
def test_what_is_never_taken_is_kept_as_a_dead_letter(
    redis: Redis,
    ledger: Ledger,
    settings: BrokerSettings,
    nowhere: StorageSettings,
    status: int,
) -> None:
    """With the record, counted; redirects are not followed, and no secret of an address is told."""
    with _receiving(status) as server, _delivering(settings, nowhere):
        id = _ended(redis, ledger, settings, server.url, FAULT)
        wait_until(lambda: redis.hexists(keys.DEAD, id), "it is given up")

    found: Any = redis.hget(keys.DEAD, id)
    letter = json.loads(found)
    assert letter["fault"]["type"] == "DestinationDeliveryFailures"
    assert str(status) in letter["fault"]["message"]
    assert "secret" not in letter["fault"]["message"]
    assert (letter["destination"], letter["attempts"]) == (server.url, 3)
    assert json.loads(letter["event"])["requestContext"]["condition"] == "RetriesExhausted"
    assert redis.hget(keys.counters("crop"), "destination_failures") == b"1"
    assert set(server.paths) == {"/ends?token=secret"}
    assert _is_empty(redis)


def test_nobody_listening_holds_up_no_other_functions_records(
    redis: Redis, ledger: Ledger, redis_url: str, nowhere: StorageSettings
) -> None:
    """Each function's records are carried on their own, the failing one's put off."""
    settings = BrokerSettings(redis_url=SecretStr(redis_url), destination_delay=60.0)
    with _receiving(200) as gone:
        address = gone.url
    with _delivering(settings, nowhere):
        stuck = _ended(redis, ledger, settings, address)
        wait_until(lambda: redis.hget(keys.outgoing(stuck), "tries") == b"1", "one was tried")
        other = str(uuid.uuid4())
        Publisher(redis, settings).publish(Publication([NewInvocation(other, "b", b"{}")]), b"")
        _, begun = ledger.exchange([], [Claim(other, "b")])
        assert isinstance(begun[0], Invocation)
        outcome = Outcome(begun[0], b"1", None, 1.0, 30)
        ledger.exchange([Closing(outcome, 0, on_success="redis:ends")], [])
        assert _popped(redis, "ends")["requestContext"]["requestId"] == other

    assert redis.exists(keys.outgoing(stuck))


def test_an_object_is_written_with_the_functions_own_rights(
    redis: Redis,
    ledger: Ledger,
    settings: BrokerSettings,
    storage: StorageSettings,
    store: Minio,
) -> None:
    """Below the prefix, by day; a redelivery writes the same object."""
    bucket = f"ends-{uuid.uuid4().hex[:8]}"
    store.make_bucket(bucket)
    destination = f"s3://{bucket}/reports/"
    crop = _configuration("crop", on_success=destination)
    Roles(storage).grant(crop)
    with _delivering(settings, storage, crop):
        id = _ended(redis, ledger, settings, destination)
        wait_until(lambda: _is_empty(redis), "it is delivered")

    (found,) = store.list_objects(bucket, recursive=True)
    day = datetime.now(UTC).strftime("%Y/%m/%d")
    assert found.object_name == f"reports/{day}/{id}.json"


def test_an_object_where_the_function_may_not_write_is_not_written(
    redis: Redis,
    ledger: Ledger,
    settings: BrokerSettings,
    storage: StorageSettings,
    store: Minio,
) -> None:
    """The platform's rights are never lent."""
    bucket = f"ends-{uuid.uuid4().hex[:8]}"
    store.make_bucket(bucket)
    crop = _configuration("crop", on_success="redis:other")
    Roles(storage).grant(crop)
    with _delivering(settings, storage, crop):
        id = _ended(redis, ledger, settings, f"s3://{bucket}/x")
        wait_until(lambda: redis.hexists(keys.DEAD, id), "it is given up")

    letter: Any = redis.hget(keys.DEAD, id)
    assert b"Access Denied" in letter
    assert not list(store.list_objects(bucket, recursive=True))


def test_a_list_that_is_none_is_refused_without_harm(
    redis: Redis, ledger: Ledger, settings: BrokerSettings, nowhere: StorageSettings
) -> None:
    """Somebody's key of another type stays as it is."""
    redis.set("taken", "theirs")
    with _delivering(settings, nowhere):
        id = _ended(redis, ledger, settings, "redis:taken")
        wait_until(lambda: redis.hexists(keys.DEAD, id), "it is given up")

    assert redis.get("taken") == b"theirs"


def test_what_a_dead_deliverer_has_taken_is_taken_by_another(
    redis: Redis, ledger: Ledger, settings: BrokerSettings
) -> None:
    """Once its time is over; then it cannot strike the record off any more."""
    id = _ended(redis, ledger, settings, "redis:ends")
    first, second = Outbox(redis), Outbox(redis)
    (dead,) = first.take("crop", 10)
    assert second.take("crop", 10) == []
    redis.zadd(keys.outbox("crop"), {id: 1})  # its time is over
    (living,) = second.take("crop", 10)

    assert not first.append(dead, "ends")
    assert not redis.llen("ends")
    assert second.append(living, "ends")
    assert redis.llen("ends") == 1
    assert _is_empty(redis)
