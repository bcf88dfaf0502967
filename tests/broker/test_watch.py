"""The watch, on real servers: what was lost is found, and in quiet times nothing is listed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from broker import keys, watch
from broker.functions import DeployedFunctions
from broker.late_events import LateEvents
from broker.watch import Watch
from broker.watch_state import WatchState
from storage.watermark import StoredWatermark
from tests.broker.late import World
from tests.conftest import wait_until


@pytest.fixture
def looker(world: World, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A watch that has looked once; the session's store may have begun a moment ago."""
    monkeypatch.setattr(watch, "SETTLING", 0.0)
    monkeypatch.setattr(watch, "LEASE", 600.0)
    found = Watch(world.broker, world.storage, world.functions)
    found.run_once()
    return found


def _now(looker: Watch) -> datetime:
    """By the store's clock."""
    return looker._looking.look().store.now


def _state(world: World) -> WatchState:
    found = WatchState.read(world.redis)
    assert found is not None
    return found


def _looked(world: World, looker: Watch) -> WatchState:
    """The state after one look more."""
    looker.run_once()
    return _state(world)


@pytest.fixture
def _no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark is moved up to now: nobody waits a minute to see it."""
    monkeypatch.setattr(watch, "MARGIN", timedelta(0))


def test_a_new_system_begins_now_and_says_so_in_the_store(world: World, looker: Watch) -> None:
    """Nothing is known of the past, and nothing is swept."""
    state = _state(world)
    assert StoredWatermark(world.storage).load() == state.watermark
    assert (state.pending, state.swept_at) == ("", None)


@pytest.mark.usefixtures("_no_margin")
def test_in_quiet_times_nothing_is_listed(
    world: World, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads that are handled are no reason; the watermark goes on."""
    listed: list[object] = []
    monkeypatch.setattr(LateEvents, "places", lambda *place: listed.append(place))
    before = _state(world).watermark
    world.put(["in/a"])
    world.intake().run_once()

    wait_until(lambda: _looked(world, looker).watermark > before, "it goes on")
    assert not listed


def test_events_that_were_deleted_are_found(world: World, looker: Watch) -> None:
    """Somebody removes the list before an intake has taken it."""
    world.put(["in/a", "in/b"])
    looker.run_once()
    world.lose_events()
    looker.run_once()

    assert sorted(world.queued()) == ["in/a", "in/b"]
    state = _state(world)
    assert state.why.endswith("events are gone from Redis")
    assert (state.found, state.pending) == (2, "")


def test_a_rule_that_was_removed_is_mended_and_what_it_missed_is_found(
    world: World, looker: Watch
) -> None:
    """Somebody removes the bucket's notification configuration."""
    world.store.delete_bucket_notification(world.bucket)
    world.put(["in/a"])
    wait_until(lambda: _looked(world, looker).swept_at, "the rule is missed")

    assert world.queued() == ["in/a"]
    assert _state(world).why == f"bucket {world.bucket} did not tell its writes"
    before: Any = world.redis.llen(keys.EVENTS)
    world.put(["in/b"])
    assert world.redis.llen(keys.EVENTS) == before + 1


def test_a_redis_that_has_lost_its_data_is_filled_from_the_store(
    world: World, looker: Watch, redis: Redis
) -> None:
    """What was written since nothing was left to do is run again, finished or not."""
    world.put(["in/a"])
    world.intake().run_once()
    redis.flushall()
    DeployedFunctions(redis).add(world.deployed.values())
    looker.run_once()

    assert world.queued() == ["in/a"]
    assert _state(world).why == "Redis has lost its data"


def test_a_sweep_that_fails_is_made_again(
    world: World, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is kept in Redis, for whoever watches then."""
    world.put(["in/a"])
    looker.run_once()
    world.lose_events()
    with monkeypatch.context() as patch:
        patch.setattr(LateEvents, "places", _refuse)
        with pytest.raises(OSError, match="no listing"):
            looker.run_once()
    assert "gone from Redis" in _state(world).pending

    world.redis.delete(keys.WATCH_LEASE)
    Watch(world.broker, world.storage, world.functions).run_once()
    assert world.queued() == ["in/a"]
    assert _state(world).pending == ""


def _refuse(*_: object) -> None:
    raise OSError("no listing today")


def test_a_store_that_has_just_begun_is_swept_at_once_and_again_when_it_has_settled(
    world: World, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is uploaded in between may be told to nobody; the watermark waits for the second."""
    state = _state(world)
    state.model_copy(update={"started": state.started - 60}).save(world.redis)
    monkeypatch.setattr(watch, "SETTLING", 600.0)
    for key in ("in/a", "in/b"):
        world.put([key])
        world.lose_events()
        looker.run_once()
    assert world.queued() == ["in/a"]
    assert _state(world).watermark == state.watermark

    monkeypatch.setattr(watch, "SETTLING", 0.0)
    looker.run_once()
    assert world.queued() == ["in/a", "in/b"]
    assert (_state(world).pending, _state(world).found) == ("", 2)


def test_one_watches_at_a_time(world: World, looker: Watch) -> None:
    """The others take over when it falls silent."""
    other = Watch(world.broker, world.storage, world.functions)
    state = _state(world)
    world.redis.delete(keys.WATCH)
    other.run_once()
    assert WatchState.read(world.redis) is None

    world.redis.delete(keys.WATCH_LEASE)
    other.run_once()
    assert _state(world).redis == state.redis
    looker.run_once()
    assert other._lease.owned()
    assert not looker._lease.owned()


@pytest.mark.usefixtures("_no_margin")
def test_the_watermark_does_not_pass_what_waits_for_an_intake(world: World, looker: Watch) -> None:
    """Events may be lost from the list as long as they are in it."""
    world.put(["in/a"])
    looker.run_once()
    before = _state(world)
    later = _now(looker) + timedelta(seconds=2)
    wait_until(lambda: _looked(world, looker) and _now(looker) > later, "time has passed")
    assert _state(world).watermark == before.watermark

    world.intake().run_once()
    wait_until(lambda: _looked(world, looker).watermark > before.watermark, "it moves")


@pytest.mark.usefixtures("_no_margin")
def test_a_stored_watermark_moves_only_after_work(
    world: World, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own saving is no work, so that an idle system writes nothing."""
    monkeypatch.setattr(watch, "SAVING", timedelta(0))
    intake, saved = world.intake(), StoredWatermark(world.storage)
    first = saved.load()
    world.put(["in/a"])
    intake.run_once()
    for key in (keys.queued("crop"), *world.redis.scan_iter(keys.invocation("*"))):
        world.redis.delete(key)

    def is_saved() -> bool:
        looker.run_once()
        intake.run_once()
        return saved.load() != first

    wait_until(is_saved, "it has moved")
    for _ in range(4):
        is_saved()
    last = saved.load()
    for _ in range(4):
        is_saved()
    assert saved.load() == last
