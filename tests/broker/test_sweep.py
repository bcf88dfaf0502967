"""The sweep, on real servers: what was not handled is found, what was is not run again."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from redis import Redis

from broker import keys
from broker.errors import NothingTriggered
from broker.sweep import Scope, Sweep
from storage.configuration import Trigger
from tests.broker.late import World, function

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MANY = 20_000


@pytest.fixture
def sweep(world: World) -> Sweep:
    return Sweep(world.redis, world.broker, world.storage, world.functions)


def _entered(sweep: Sweep, scope: Scope | None = None, *, dry_run: bool = False) -> int:
    steps = list(sweep.run(scope or Scope(LONG_AGO), dry_run=dry_run))
    return steps[-1].entered if steps else 0


def test_a_write_whose_event_was_lost_is_found(world: World, sweep: Sweep) -> None:
    """And one that its function is not for is left alone."""
    world.put(["in/a", "out/a"])
    world.lose_events()

    assert _entered(sweep) == 1
    assert world.queued() == ["in/a"]


def test_an_event_that_comes_after_its_object_was_swept_is_dropped(
    world: World, sweep: Sweep
) -> None:
    """One effective run, whichever comes first."""
    world.put(["in/a", "in/b"])

    assert _entered(sweep) == 2
    assert world.intake().run_once() == 0
    assert sorted(world.queued()) == ["in/a", "in/b"]


def test_what_was_handled_is_not_found(world: World, sweep: Sweep) -> None:
    """Also when its invocation has long been finished and closed."""
    world.put(["in/a", "in/b"])
    assert world.intake().run_once() == 2
    for key in world.redis.scan_iter(keys.invocation("*")):
        world.redis.delete(key)

    assert _entered(sweep) == 0


def test_a_sweep_can_be_interrupted_and_repeated(world: World, sweep: Sweep) -> None:
    """What is left is found by the next one, and nothing twice."""
    world.put([f"in/{n:04}" for n in range(450)])
    world.lose_events()
    next(steps := sweep.run(Scope(LONG_AGO)))
    steps.close()  # type: ignore[attr-defined]

    assert len(world.queued()) == 200
    assert _entered(sweep) == 250
    assert _entered(sweep) == 0
    assert sorted(world.queued()) == [f"in/{n:04}" for n in range(450)]


def test_a_dry_run_enters_nothing(world: World, sweep: Sweep) -> None:
    """It only tells how many it would be."""
    world.put(["in/a", "in/b"])
    world.lose_events()

    assert _entered(sweep, dry_run=True) == 2
    assert not world.queued()
    assert _entered(sweep) == 2


def test_only_what_was_asked_for_is_looked_at(world: World, sweep: Sweep) -> None:
    """By prefix, and by time."""
    world.put(["in/a/1", "in/b/1"])
    world.lose_events()

    assert _entered(sweep, Scope(datetime.now(UTC) + timedelta(hours=1))) == 0
    assert _entered(sweep, Scope(LONG_AGO, world.bucket, "in/b")) == 1
    assert _entered(sweep, Scope(LONG_AGO, world.bucket, "in/")) == 1


def test_a_bucket_without_triggers_is_refused(world: World, sweep: Sweep) -> None:
    """A slip of the pen must not look like a good end."""
    for scope in (Scope(LONG_AGO, "other-bucket"), Scope(LONG_AGO, world.bucket, "out/")):
        with pytest.raises(NothingTriggered, match=scope.bucket):
            _entered(sweep, scope)


def test_what_is_older_than_its_function_is_not_its_business(world: World, sweep: Sweep) -> None:
    """Unless that is asked for; a function that was deployed before may well have missed it."""
    world.put(["in/a"])
    world.lose_events()
    trigger, later = Trigger(bucket=world.bucket), datetime.now(UTC) + timedelta(minutes=1)
    world.deploy(function("young", trigger, deployed_at=later))
    world.deploy(function("again", trigger, deployed_at=later, version=2))

    assert _entered(sweep) == 2
    assert (world.queued("young"), world.queued("again")) == ([], ["in/a"])
    assert _entered(sweep, Scope(LONG_AGO, with_older=True)) == 1
    assert world.queued("young") == ["in/a"]


def test_every_function_is_looked_after_on_its_own(world: World, sweep: Sweep) -> None:
    """Triggers within one another are listed once, and what one has handled another may lack."""
    world.put(["in/a.jpg", "in/a.txt"])
    assert world.intake().run_once() == 2
    world.deploy(function("jpegs", Trigger(bucket=world.bucket, suffixes=(".jpg",))))
    world.deploy(function("copies", Trigger(bucket=world.bucket, events=("ObjectCreated:Copy",))))
    world.deploy(function("gone", Trigger(bucket=world.bucket, events=("ObjectRemoved:Delete",))))

    steps = list(sweep.run(Scope(LONG_AGO)))
    assert steps[-1].seen == 2
    assert world.queued("jpegs") == ["in/a.jpg"]
    assert sorted(world.queued("copies")) == ["in/a.jpg", "in/a.txt"]
    assert world.queued("gone") == []


def test_filters_hold_for_what_is_swept(world: World, sweep: Sweep) -> None:
    """A record that a function's filters refuse is refused here too."""
    pattern = '{"s3": {"object": {"key": [{"suffix": ".jpg"}]}}}'
    world.deploy(function("crop", Trigger(bucket=world.bucket, prefix="in/"), filters=(pattern,)))
    world.put(["in/a.jpg", "in/a.txt"])
    world.lose_events()

    assert _entered(sweep) == 1
    assert world.queued() == ["in/a.jpg"]


def test_in_a_versioned_bucket_every_write_counts(world: World, sweep: Sweep) -> None:
    """The oldest is run first."""
    world.store.set_bucket_versioning(world.bucket, VersioningConfig(ENABLED))
    for _ in range(3):
        world.put(["in/a"])
    assert world.intake().run_once() == 3
    for _ in range(2):
        world.put(["in/a"])
    world.lose_events()

    assert _entered(sweep) == 2
    assert world.queued() == ["in/a"] * 5


def test_an_upload_of_code_is_found_as_well(world: World, sweep: Sweep) -> None:
    """The platform's own function is one like others."""
    world.put(["deployments/x.zip"], world.storage.system_bucket)
    world.lose_events()

    assert _entered(sweep) == 1
    assert world.queued(keys.DEPLOY) == ["deployments/x.zip"]


def test_a_bucket_that_is_gone_stops_no_sweep(world: World, sweep: Sweep) -> None:
    """Others are swept all the same."""
    world.deploy(function("other", Trigger(bucket="no-such-bucket")))
    world.put(["in/a"])
    world.lose_events()

    assert _entered(sweep) == 1


def test_twenty_thousand_keys_are_swept_in_the_memory_of_a_few_pages(
    world: World, sweep: Sweep, redis: Redis
) -> None:
    """What is held does not grow with the number of keys: a tenth of them takes as much."""
    world.put(f"in/{n % 10}/{n:05}" for n in range(MANY))
    world.lose_events()

    few = _peak(sweep, Scope(LONG_AGO, world.bucket, "in/3"))
    many = _peak(sweep, Scope(LONG_AGO, world.bucket))
    assert many < few * 1.5
    assert many < 16 * 1024 * 1024
    known = [redis.scard(each) for each in redis.scan_iter(keys.seen(0)[:-1] + "*")]
    assert sum(known) == MANY


def _peak(sweep: Sweep, scope: Scope) -> int:
    """Bytes that Python held at most."""
    tracemalloc.start()
    try:
        for _ in sweep.run(scope):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
