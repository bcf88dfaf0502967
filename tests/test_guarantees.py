"""The document of guarantees: each test that it names exists, and each claim names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", DOCUMENT)))


@cache
def _tests(file: str) -> set[str]:
    """Names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in tree.body if isinstance(each, functions)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    """A claim whose test has gone is no claim any more."""
    assert name in _tests(file)


def _claims() -> list[str]:
    """Rows of the tables whose last column is for tests."""
    rows, has_tests = [], False
    for line in DOCUMENT.splitlines():
        if not line.startswith("|"):
            has_tests = False
        elif line.endswith("| tests |"):
            has_tests = True
        elif has_tests and not line.startswith("|---"):
            rows.append(line)
    return rows


def test_every_claim_names_a_test_or_why_it_cannot_be() -> None:
    """Or says that what it is about cannot occur here."""
    claims = _claims()
    unheld = [row for row in claims if "::" not in row and "| Cannot: " not in row]
    assert len(claims) > 30
    assert not unheld
