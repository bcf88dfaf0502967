"""The list of deployed functions: no stale one replaces a newer one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis import Redis

from broker.functions import DeployedFunctions
from storage.configuration import FunctionConfiguration


@pytest.fixture
def deployed(redis: Redis) -> DeployedFunctions:
    return DeployedFunctions(redis)


def _function(name: str) -> FunctionConfiguration:
    return FunctionConfiguration(
        name=name, handler="app.handler", code_sha256="0" * 64, deployed_at=datetime.now(UTC)
    )


def test_a_deployed_function_is_known_at_once(deployed: DeployedFunctions) -> None:
    """A call right after a deployment must find it."""
    deployed.add([_function("crop")])

    assert deployed.has("crop")
    assert not deployed.has("other")


def test_each_deployment_is_a_change(deployed: DeployedFunctions) -> None:
    """By the generation intakes and workers know that they must read anew."""
    before = deployed.generation()
    deployed.add([_function("crop")])

    assert deployed.generation() != before


def test_a_list_read_before_a_deployment_does_not_replace_it(deployed: DeployedFunctions) -> None:
    """An intake that was slow must not take a new function away again."""
    generation = deployed.generation()
    deployed.add([_function("crop")])
    deployed.replace({}, generation)

    assert deployed.has("crop")


def test_a_list_of_now_replaces_what_is_gone(deployed: DeployedFunctions) -> None:
    """What the store has no more must not be callable."""
    deployed.add([_function("crop")])
    deployed.replace({"count": _function("count")}, deployed.generation())

    assert deployed.has("count")
    assert not deployed.has("crop")
