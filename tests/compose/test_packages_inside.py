"""Functions in other languages: Debian's packages that .env names are in the worker's image."""

from __future__ import annotations

import pytest

from tests.compose.project import Project

pytestmark = pytest.mark.compose

TEMPLATE = """
Resources:
  Doubled:
    Type: AWS::Serverless::Function
    Properties:
      {FunctionName: doubled, Runtime: nodejs18.x, Handler: index.handler, CodeUri: ., Timeout: 60}
"""


def test_a_function_in_node_runs_where_node_was_asked_for(project: Project) -> None:
    """Without it, deploying such a function is refused with what is missing."""
    folder = project.folder / "doubled"
    folder.mkdir()
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "index.mjs").write_text("export const handler = async event => 2 * event;\n")
    refused = project.asked("deploy", str(folder))
    assert refused.returncode == 1 and "nodejs18.x" in refused.stderr

    project.up(BUCKETWHEEL_PACKAGES="nodejs")
    try:
        project.bucketwheel("deploy", str(folder))
        assert project.bucketwheel("invoke", "doubled", "--payload", "21") == "42\n"
    finally:
        project.up()
