"""The examples as modules: what a user deploys is a file, not a package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
