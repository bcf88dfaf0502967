"""The examples: as modules, and deployed into a system as a user does."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bucketwheel.testing import System
from tests.conftest import absent, wait_until
from tests.system.conftest import begun
from workers.errors import RuntimeMissing
from workers.runtimes import clients, runtime

#: Puts a file into a bucket and waits for what an example makes of it; returns that.
Made = Callable[..., bytes]

_EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_example", _EXAMPLES / name / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def photo_crop() -> ModuleType:
    """The module `examples/photo_crop/app.py`."""
    return _load("photo_crop")


@pytest.fixture(scope="session")
def word_count() -> ModuleType:
    """The module `examples/word_count/app.py`."""
    return _load("word_count")


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system for the examples that are built."""
    with begun(tmp_path_factory.mktemp("examples"), BUCKETWHEEL_RETRY_DELAY="0.1") as found:
        yield found


@pytest.fixture(scope="session")
def made(system: System) -> Made:
    """Upload, and wait for what comes of it."""

    def make(bucket: str, key: str, body: bytes, target: str) -> bytes:
        s3 = system.s3()
        s3.put_object(Bucket=bucket, Key=key, Body=body)

        def is_there() -> bool:
            found = s3.list_objects_v2(Bucket=bucket, Prefix=target).get("Contents", [])
            return [each["Key"] for each in found] == [target]

        wait_until(is_there, f"{bucket}/{target} is there", 300)
        content: bytes = s3.get_object(Bucket=bucket, Key=target)["Body"].read()
        return content

    return make


def deployed(system: System, name: str, builder: str, runtime_name: str) -> None:
    """Build and deploy an example; skip where this host lacks what that needs."""
    if shutil.which(builder) is None:
        absent(f"{builder} is not installed, which builds examples/{name}")
    try:
        runtime(runtime_name).paths()
    except RuntimeMissing as error:
        absent(str(error))
    if runtime_name.startswith("java") and not clients.has_java():
        absent("AWS's client for Java is not installed: bucketwheel runtimes install java")
    system.run("deploy", str(_EXAMPLES / name))
