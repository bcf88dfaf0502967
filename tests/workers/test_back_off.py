"""Throttled work: a worker that was refused asks ever more seldom, until it is given something."""

from __future__ import annotations

from workers.fleet import BACK_OFF, MOST_BACK_OFF, Fleet, Ramp


def _fleet() -> Fleet:  # type: ignore[type-arg]
    return Fleet("crop", Ramp(0.0))


def test_pauses_double_up_to_a_limit() -> None:
    """No busy loop over many hosts; and what a dead host held is run within ten seconds."""
    fleet, now, pauses = _fleet(), 100.0, []
    for _ in range(8):
        fleet.refused(now)
        pauses.append(round(fleet.throttled_until - now, 3))
        now = fleet.throttled_until

    assert pauses[:4] == [BACK_OFF, 2 * BACK_OFF, 4 * BACK_OFF, 8 * BACK_OFF]
    assert set(pauses[5:]) == {MOST_BACK_OFF}


def test_several_refusals_at_once_are_one() -> None:
    """A message may deliver eight invocations."""
    fleet = _fleet()
    for _ in range(8):
        fleet.refused(100.0)

    assert fleet.throttled_until == 100.0 + BACK_OFF


def test_the_queue_is_left_alone_meanwhile() -> None:
    """And consumed again afterwards."""
    fleet = _fleet()
    fleet.refused(100.0)

    assert fleet.rest(100.1) and fleet.at_rest
    assert fleet.rest(100.0 + 2 * BACK_OFF) and not fleet.at_rest
