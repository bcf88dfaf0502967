"""The account of chaos finds what it is there to find."""

from __future__ import annotations

import pytest

from chaos.account import GOAL, NONE, account
from chaos.faults import Fault
from chaos.runs import Run, Runs
from chaos.uploads import Uploads

KILLED = "worker killed"


def _runs(*runs: Run) -> Runs:
    """Notes of these runs."""
    found = Runs()
    for run in runs:
        noted = found.begin(run.id, run.key)
        noted.began, noted.ended, noted.cut = run.began, run.ended, run.cut
    return found


def _answered(*keys: str) -> Uploads:
    return Uploads(dict.fromkeys(keys, 1.0))


def _ended(began: float, ended: float) -> Run:
    return Run("i", "a", began, ended=ended)


def _cut(began: float, cut: float) -> Run:
    return Run("i", "a", began, cut=cut)


def test_what_ran_once_is_good() -> None:
    """Without any fault."""
    found = account(_answered("a"), _runs(_ended(2, 3)), [], {KILLED})

    assert (found.answered, found.once, found.more) == (1, 1, 0)
    assert found.is_good


@pytest.mark.parametrize("runs", [(), (_cut(2, 3),)], ids=["never run", "never ended"])
def test_what_never_ran_to_an_end_is_lost(runs: tuple[Run, ...]) -> None:
    """The fault during which it was answered is named."""
    found = account(_answered("a"), _runs(*runs), [Fault(KILLED, 0.5, 1.5)], {KILLED})

    assert found.lost == ["a"]
    assert next(each for each in found.lines if each.kind == KILLED).lost == ["a"]
    assert not found.is_good


@pytest.mark.parametrize("first", [_ended(2, 9), _cut(2, 9)], ids=["ended", "cut off"])
def test_two_runs_at_once_are_found(first: Run) -> None:
    """Whether the first came to its end or was cut off later."""
    found = account(_answered("a"), _runs(first, _ended(5, 6)), [Fault(KILLED, 2.5, 2.5)], {KILLED})

    assert found.overlapped == ["a"]
    assert not found.is_good


def test_a_run_that_is_repeated_without_a_fault_is_not_explained() -> None:
    """Somebody has run it twice without need."""
    found = account(_answered("a"), _runs(_ended(2, 3), _ended(5, 6)), [], {KILLED})

    assert found.unexplained == 1
    assert found.lines[-1].kind == NONE
    assert not found.is_good


@pytest.mark.parametrize(("later", "is_good"), [(GOAL - 1, True), (GOAL + 1, False)])
def test_the_time_until_a_dead_workers_work_runs_again_is_judged(
    later: float, is_good: bool
) -> None:
    """From its death until the next run begins."""
    again = 3 + later
    runs = _runs(_cut(2, 3), _ended(again, again + 1))
    found = account(_answered("a"), runs, [Fault(KILLED, 3, 3)], {KILLED})

    assert found.longest == pytest.approx(later)
    assert found.is_good is is_good
