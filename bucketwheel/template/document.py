"""The text of a template: CloudFormation's YAML, with its short tags written out.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-formats.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from bucketwheel.errors import TemplateError

#: Bytes; CloudFormation's quota for a template.
LARGEST: Final = 1_000_000


class _Loader(yaml.BaseLoader):
    """Every value is a text, as CloudFormation hands it on: `2010-09-09` is no date, `no` no False.

    Aliases are refused, as CloudFormation does: a few lines of them can stand for gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, in which a name stands once."""
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                wrong = "is no name" if not isinstance(key, yaml.ScalarNode) else "stands twice"
                problem = f"key {str(key.value)[:60]!r} {wrong}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)


def _construct_tag(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    """`!Ref x` is `{"Ref": x}`, and `!Sub x` is `{"Fn::Sub": x}`."""
    if isinstance(node, yaml.MappingNode):
        value: Any = loader.construct_mapping(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _construct_tag)


def load(path: Path) -> Any:
    """Read a template: mappings, lists and texts, no other values.

    Raises:
        TemplateError: it cannot be read, or is no such YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise TemplateError(f"{path} is too large: at most {LARGEST:,} bytes")
    try:
        return yaml.load(content, _Loader)  # noqa: S506 (it makes texts, lists and mappings only)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = f"{line}{error.problem}"
    except RecursionError:
        reason = "it is nested too deeply"
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = str(error)
    raise TemplateError(f"{path}: {' '.join(reason.split())}")
