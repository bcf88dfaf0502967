"""What a host cannot run is refused when it is deployed, with a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bucketwheel.testing import System
from storage.configuration import PYTHON

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Refused:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: {runtime}
      Handler: {handler}
      CodeUri: .
"""

REFUSED = {
    "Node.js of another version": ("nodejs98.x", "app.handler", "needs Node.js 98 on the worker"),
    "Java that is yet to come": ("java98", "app.Main", "needs Java 98 or newer"),
    "Python that is not here": ("python3.98", "app.handler", "python3.98 is not on the worker"),
    "no such module": (PYTHON, "absent.handler", "the package has no module 'absent'"),
    "no bootstrap": ("provided.al2023", "any", "Couldn't find valid bootstrap(s)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_at_deployment(
    system: System, tmp_path: Path, name: str
) -> None:
    """Nothing of it is deployed."""
    runtime, handler, sentence = REFUSED[name]
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE.format(runtime=runtime, handler=handler))

    done = system.tried("deploy", str(tmp_path))

    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Refused" not in system.run("functions")


def test_a_bootstrap_that_is_not_executable_is_refused(system: System, tmp_path: Path) -> None:
    """As it comes from a checkout on another system."""
    (tmp_path / "bootstrap").write_text("#!/bin/sh\n")
    text = TEMPLATE.format(runtime="provided.al2023", handler="any")
    (tmp_path / "template.yaml").write_text(text)

    done = system.tried("deploy", str(tmp_path))

    assert done.returncode != 0
    assert "chmod +x bootstrap" in done.stderr
