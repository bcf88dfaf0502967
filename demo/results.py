"""What became of each upload."""

from __future__ import annotations

from dataclasses import dataclass

from demo.crops import Crop, Expectation, Size
from demo.errors import WrongCrop
from demo.reports import Report
from demo.uploads import Upload


@dataclass(frozen=True, slots=True)
class Outcome:
    """One invocation, what it stored, and the seconds from the upload to its end."""

    report: Report
    crop: Crop | None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One upload: among all the others, and once more alone."""

    upload: Upload
    together: Outcome
    alone: Outcome | None = None


def find_faults(result: Result, asked: Size) -> list[str]:
    """What is wrong with a result: a sentence for each fault."""
    upload = result.upload
    if upload.broken:
        return _find_broken_faults(upload, result.together)
    expected = Expectation.of(upload, asked)
    outcomes = [each for each in (result.together, result.alone) if each is not None]
    found = [_find_fault(upload, expected, each) for each in outcomes]
    return list(dict.fromkeys(fault for fault in found if fault is not None))


def _find_broken_faults(upload: Upload, outcome: Outcome) -> list[str]:
    if outcome.crop is not None or "UnusablePhoto" not in (outcome.report.error or ""):
        return [f"{upload.file} should have been refused as broken"]
    return []


def _find_fault(upload: Upload, expected: Expectation, outcome: Outcome) -> str | None:
    if outcome.report.error is not None:
        return f"{upload.file} failed: {outcome.report.error}"
    if outcome.crop is None:
        return f"the crop of {upload.file} is missing"
    try:
        expected.check(outcome.crop)
    except WrongCrop as fault:
        return str(fault)
    return None
