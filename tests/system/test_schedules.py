"""Schedules in a whole system: the clock invokes a function, once.

AWS's smallest unit is a minute. Tests do not wait for it: they have Redis remember that a schedule
was due some minutes ago, and tell the intakes that functions have changed, at which they look.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from broker import keys
from bucketwheel.errors import StartError
from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Deploy, logged, wait_for

#: Logs its event; NAME and SCHEDULE are filled in.
RECORDER = """
    import json

    @function(name="NAME", schedule=SCHEDULE)
    def record(event, context):
        print("EVENT", json.dumps(event))
"""


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"schedules-{uuid.uuid4().hex[:10]}"


def _recorder(name: str, schedule: str) -> str:
    return RECORDER.replace("NAME", name).replace("SCHEDULE", schedule)


def _fire(system: System, name: str, expression: str, ago: int) -> None:
    """Have a schedule look as if it was due so many seconds ago, and not since."""
    field = f"{name} {expression}"
    last: Any = wait_until(lambda: system.redis.hget(keys.SCHEDULES, field), "it is looked at")
    system.redis.hset(keys.SCHEDULES, field, str(int(last) - ago * 1000))
    system.redis.incr(keys.GENERATION)


def _events(system: System, name: str) -> list[dict[str, Any]]:
    found = re.findall(r"^EVENT (.*)$", logged(system, name), re.MULTILINE)
    return [json.loads(each) for each in found]


def test_a_schedule_invokes_its_function_with_eventbridges_event(
    system: System, deploy: Deploy, name: str
) -> None:
    """No bucket is needed, and what deployment prints says when it runs."""
    assert "rate(5 minutes)" in deploy(_recorder(name, '"rate(5 minutes)"'))
    _fire(system, name, "rate(5 minutes)", 310)
    wait_for(system, name, succeeded=1)

    [event] = _events(system, name)
    assert (event["source"], event["detail-type"]) == ("aws.events", "Scheduled Event")


def test_what_was_missed_is_made_up_for_once_if_asked(
    system: System, deploy: Deploy, name: str
) -> None:
    """After an hour of downtime: once for all, or not at all."""
    hourly, often = f"{name}-a", f"{name}-b"
    deploy(_recorder(hourly, '"rate(5 minutes)", schedule_catch_up=True'))
    deploy(_recorder(often, '"rate(5 minutes)"'))
    for each in (often, hourly):
        _fire(system, each, "rate(5 minutes)", 3_600 + 120)
    wait_for(system, hourly, succeeded=1)

    assert len(_events(system, hourly)) == 1
    assert not _events(system, often)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("cron(0 8 * * * *)", "must be ?"),
        ("rate(1 minutes)", "1 goes with minute"),
        ("cron(0 8 31 FEB ? *)", "is on no day of any year"),
        ("daily", "schedule must be rate(5 minutes), cron(0 8 * * ? *)"),
    ],
)
def test_what_is_no_schedule_is_refused_at_deployment(
    system: System, deploy: Deploy, name: str, schedule: str, reason: str
) -> None:
    """Deployment says what is wrong with it, and nothing is deployed."""
    with pytest.raises(StartError) as caught:
        deploy(_recorder(name, f'"{schedule}"'))

    assert reason in str(caught.value)
