"""Routes: an event record leads to the functions whose triggers and filters it matches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis import Redis

from broker import keys
from broker.intake import Intake, plan
from broker.routes import Routes
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration, Trigger, uploads


def _function(name: str, **further: Any) -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name,
        handler="app.handler",
        triggers=(Trigger(bucket="photos"),),
        code_sha256="0" * 64,
        deployed_at=datetime.now(UTC),
        **further,
    )


def _notification(key: str, size: int, sequencer: str = "A10") -> bytes:
    stored = {"key": key, "size": size, "eTag": "e", "sequencer": sequencer}
    s3 = {"bucket": {"name": "photos"}, "object": stored}
    return orjson.dumps([{"Event": [{"eventName": "s3:ObjectCreated:Put", "s3": s3}]}])


def _routes(*functions: FunctionConfiguration) -> Routes:
    return Routes({each.name: each for each in functions}, uploads("bucketwheel"), "us-east-1")


LARGE = '{"s3": {"object": {"size": [{"numeric": [">", 1000]}]}}}'
TEXTS = '{"s3": {"object": {"key": [{"suffix": ".txt"}]}}}'


def test_filters_look_at_the_record_as_aws_describes_it() -> None:
    """A function without filters gets everything, one with several what matches any of them."""
    routes = _routes(_function("all"), _function("some", filters=(LARGE, TEXTS)))
    sent = [_notification("a.jpg", 10), _notification("b.txt", 10), _notification("c.jpg", 2000)]
    publication = plan(sent, routes)

    of = [(each.function, each.label) for each in publication.invocations]
    assert [label for name, label in of if name == "all"] == [
        "photos/a.jpg",
        "photos/b.txt",
        "photos/c.jpg",
    ]
    assert [label for name, label in of if name == "some"] == ["photos/b.txt", "photos/c.jpg"]
    assert publication.counts == {("some", "filtered"): 1}


def test_what_is_filtered_away_is_counted_and_gone(redis: Redis, broker: BrokerSettings) -> None:
    """Nothing enters the ledger, the event is taken, and the counter says so."""
    functions: Mapping[str, FunctionConfiguration] = {"some": _function("some", filters=(LARGE,))}
    redis.rpush(keys.EVENTS, _notification("a.jpg", 1), _notification("b.jpg", 2))
    intake = Intake(broker, lambda: functions, uploads("bucketwheel"), "us-east-1")

    assert intake.run_once() == 0
    assert redis.hget(keys.counters("some"), "filtered") == b"2"
    assert not redis.exists(keys.EVENTS, keys.inflight(intake.id), keys.queue("some"))


def test_a_filter_that_cannot_be_used_loses_nothing() -> None:
    """Deployment refuses it; should one be there all the same, its function gets everything."""
    publication = plan([_notification("a", 1)], _routes(_function("odd", filters=("{}",))))
    assert [each.function for each in publication.invocations] == ["odd"]


@pytest.mark.parametrize("order", ["none", "key"])
def test_only_who_asks_for_order_has_it_in_the_ledger(order: str) -> None:
    """The entry names the key's line and the write's place in it."""
    [found] = plan([_notification("a", 1)], _routes(_function("f", order=order))).invocations
    assert set(found.fields) == ({"order", "sequencer"} if order == "key" else set())


def test_a_record_without_a_sequencer_has_no_place_in_order() -> None:
    """Some store that tells no order: its events are delivered as they come."""
    sent = _notification("a", 1, sequencer="")
    [found] = plan([sent], _routes(_function("f", order="key"))).invocations
    assert not found.fields
