"""The written message is what kombu itself would have written."""

from __future__ import annotations

import json
import uuid
from typing import Any

from celery import Celery
from redis import Redis

from broker import keys, message
from broker.settings import TRANSPORT_OPTIONS


def _by_kombu(url: str, redis: Redis, task_id: str) -> dict[str, Any]:
    app = Celery("contract", broker=url, set_as_current=False)
    app.conf.broker_transport_options = TRANSPORT_OPTIONS
    app.send_task("crop", args=[], task_id=task_id, queue=keys.queue("crop"), ignore_result=True)
    app.close()
    pushed: Any = redis.rpop(keys.queue("crop"))
    found: dict[str, Any] = json.loads(pushed)
    return found


def test_the_message_has_the_fields_and_types_of_kombus_own(redis: Redis, redis_url: str) -> None:
    """Celery's protocol 2 as kombu writes it to a Redis list; ours only adds the invocations."""
    id = str(uuid.uuid4())
    theirs = _by_kombu(redis_url, redis, id)
    ours = json.loads(message.render("crop", [id], "photos/in/a.jpg"))

    assert set(ours) == set(theirs)
    assert set(ours["headers"]) - {message.INVOCATIONS} == set(theirs["headers"])
    assert set(ours["properties"]) | {"body_encoding"} == set(theirs["properties"])
    for name in ("lang", "task", "id", "root_id", "parent_id", "eta", "expires", "timelimit"):
        assert ours["headers"][name] == theirs["headers"][name]
    assert ours["properties"]["delivery_info"]["routing_key"] == keys.queue("crop")
    assert ours["content-type"] == theirs["content-type"]


def test_kombus_message_decodes_to_the_same_body(redis: Redis, redis_url: str) -> None:
    """Without `body_encoding` the body is plain text, which saves base64."""
    import base64

    theirs = _by_kombu(redis_url, redis, str(uuid.uuid4()))
    ours = json.loads(message.render("crop", ["x"], ""))

    assert json.loads(ours["body"]) == json.loads(base64.b64decode(theirs["body"]))


def test_a_message_tells_which_invocations_it_delivers() -> None:
    """The reaper compares messages with the ledger by this."""
    assert message.delivered(message.render("crop", ["a", "b"], "")) == ["a", "b"]


def test_rubbish_delivers_nothing() -> None:
    """A message of somebody else is no reason to stop."""
    for rubbish in (b"", b"{", b"[]", b"null", b'{"headers": 3}', b"\xff"):
        assert message.delivered(rubbish) == []
