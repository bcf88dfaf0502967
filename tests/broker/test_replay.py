"""The replay, on real servers: what was handled runs again, once for each replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker import keys
from broker.errors import ReplayNotFound
from broker.replay import Replay, Selection
from storage.configuration import Trigger
from storage.errors import FunctionNotFound
from tests.broker.late import World, function


@pytest.fixture
def replay(world: World) -> Replay:
    return Replay(world.redis, world.broker, world.storage, world.functions)


def _entered(replay: Replay, selection: Selection, id: str = "") -> int:
    steps = list(replay.run(id or replay.begin(selection), selection))
    return steps[-1].entered if steps else 0


def test_what_was_handled_runs_again(world: World, replay: Replay) -> None:
    """Each time anew, and for that function only."""
    world.deploy(function("other", Trigger(bucket=world.bucket)))
    world.put(["in/a", "in/b", "out/a"])
    world.intake().run_once()

    for times in (2, 3):
        assert _entered(replay, Selection(function="crop")) == 2
        assert sorted(world.queued()) == sorted(["in/a", "in/b"] * times)
    assert len(world.queued("other")) == 3


def test_a_replay_that_was_interrupted_goes_on_and_runs_nothing_twice(
    world: World, replay: Replay
) -> None:
    """Also when all that is remembered of handled invocations is gone by then."""
    names = [f"in/{n:04}" for n in range(450)]
    world.put(names)
    world.lose_events()
    id = replay.begin(Selection(function="crop"))
    next(steps := replay.run(id, replay.find(id)))
    steps.close()  # type: ignore[attr-defined]
    for key in world.redis.scan_iter(keys.seen(0)[:-1] + "*"):
        world.redis.delete(key)

    assert _entered(replay, replay.find(id), id) == 250
    assert _entered(replay, replay.find(id), id) == 0
    assert sorted(world.queued()) == names


def test_only_what_is_selected_runs(world: World, replay: Replay) -> None:
    """By prefix, and by the time of the write."""
    world.put(["in/a", "in/b"])
    world.lose_events()
    now = datetime.now(UTC)

    assert _entered(replay, Selection(function="crop", bucket=world.bucket, prefix="in/a")) == 1
    assert _entered(replay, Selection(function="crop", since=now + timedelta(hours=1))) == 0
    assert _entered(replay, Selection(function="crop", until=now - timedelta(hours=1))) == 0
    assert _entered(replay, Selection(function="crop", until=now + timedelta(hours=1))) == 2


def test_a_try_enters_nothing(world: World, replay: Replay) -> None:
    """It only tells how many it would be."""
    world.put(["in/a"])
    world.lose_events()

    assert [each.entered for each in replay.try_out(Selection(function="crop"))] == [1]
    assert not world.queued()


def test_an_order_by_key_does_not_refuse_a_replay(world: World, replay: Replay) -> None:
    """A function that asks for order has handled that write already: it is run on purpose."""
    trigger = Trigger(bucket=world.bucket, prefix="in/")
    world.deploy(function("crop", trigger, order="key"))
    world.put(["in/a"])
    world.lose_events()

    assert _entered(replay, Selection(function="crop")) == 1
    [entry] = world.redis.scan_iter(keys.invocation("*"))
    assert not world.redis.hexists(entry, "order")


def test_who_does_not_exist_is_named(world: World, replay: Replay) -> None:
    """A function that is not deployed, a replay that never began."""
    with pytest.raises(FunctionNotFound, match="'nobody'"):
        list(replay.run("", Selection(function="nobody")))
    with pytest.raises(ReplayNotFound, match="'nothing'"):
        replay.find("nothing")
