"""Signs that events were lost, by what one look sees after another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from broker.signs import Look, seen, signs
from broker.watch_state import WatchState
from storage.health import StoreHealth

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
LOOK = Look(StoreHealth(NOW, 1000.0, 50, 2, 0), "run-1", 48, 48, 0)
STATE = WatchState(
    watermark=NOW,
    settled=NOW,
    remembered=NOW,
    started=1000.0,
    lost=2,
    taken=50,
    came=48,
    redis="run-1",
)


def _signs(look: Look, state: WatchState = STATE) -> list[str]:
    return list(signs(state, look, []))


def _look(come: int, **store: float) -> Look:
    return replace(LOOK, came=come, store=replace(LOOK.store, **store))  # type: ignore[arg-type]


def test_in_quiet_times_and_under_load_there_is_none() -> None:
    """Counters that rise together are how it should be."""
    assert not _signs(LOOK)
    assert not _signs(_look(148, taken=150))
    assert not _signs(_look(148, taken=150), seen(STATE, LOOK, rests=True))


def test_a_store_that_has_begun_anew_is_one() -> None:
    """Its counters begin anew too, and are not compared."""
    assert _signs(_look(48, started=1001.0, taken=0, lost=0)) == ["the object store has begun anew"]
    assert not _signs(_look(48, started=1000.01))


def test_events_that_the_store_could_not_tell_are_one() -> None:
    """By their number."""
    assert _signs(_look(48, lost=5)) == ["the object store could not tell 3 events"]


def test_another_redis_is_one() -> None:
    """A process that has begun anew may have lost its last second."""
    assert _signs(replace(LOOK, redis="run-2", came=0)) == ["Redis has begun anew"]


def test_events_that_were_taken_away_are_one() -> None:
    """Fewer have come than had come before."""
    assert _signs(_look(45)) == ["3 events are gone from Redis"]


def test_events_that_were_taken_away_while_others_came_are_one() -> None:
    """What the store had told by the last look must have come, once both were seen at rest."""
    rested = seen(STATE, LOOK, rests=True)
    before = seen(rested, _look(148, taken=150), rests=False)

    assert not _signs(_look(148, taken=160), before)
    assert _signs(_look(150, taken=180), replace_taken(before, 170)) == [
        "18 events are gone from Redis"
    ]


def replace_taken(state: WatchState, taken: int) -> WatchState:
    """The same state, after a look that saw so many taken."""
    return state.model_copy(update={"taken": taken})


def test_what_waits_in_the_stores_folder_is_not_missed() -> None:
    """It has been taken, and comes seconds later."""
    rested = seen(STATE, LOOK, rests=True)
    before = seen(rested, _look(48, taken=60, queued=10), rests=False)
    assert not _signs(_look(50, taken=60, queued=8), before)


def test_a_mended_bucket_is_one() -> None:
    """Each by its name."""
    assert list(signs(STATE, LOOK, ["a", "b"])) == [
        "bucket a did not tell its writes",
        "bucket b did not tell its writes",
    ]


def test_a_reason_is_noted_once() -> None:
    """However often it is seen until the sweep is done."""
    twice = STATE.suspect("one").suspect("two").suspect("one")
    assert twice.pending == "one; two"
