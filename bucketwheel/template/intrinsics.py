"""CloudFormation's functions in a template: Ref, Fn::Sub, Fn::GetAtt, Fn::Join.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.arn import ACCOUNT

#: What `!Ref AWS::NoValue` leaves out.
_NOTHING: Final = object()
_SUPPORTED: Final = "Ref, Fn::Sub, Fn::GetAtt and Fn::Join are"


def pseudo_parameters(region: str) -> dict[str, str]:
    """What AWS's pseudo parameters are in this system."""
    return {
        "AWS::AccountId": ACCOUNT,
        "AWS::Partition": "aws",
        "AWS::Region": region,
        "AWS::StackName": "bucketwheel",
        "AWS::URLSuffix": "amazonaws.com",
    }


@dataclass(frozen=True)
class Resolver:
    """Replaces functions by what they mean; its errors are ValueErrors without a place."""

    #: Values of parameters and pseudo parameters by name.
    parameters: Mapping[str, str | list[str]]
    #: Gives the name of what a logical id stands for, such as a bucket's.
    name: Callable[[str], str]
    #: Gives an attribute, such as `Arn`, of what a logical id stands for.
    attribute: Callable[[str, str], str]

    def resolve(self, value: Any) -> Any:
        """The value with everything in it resolved.

        Raises:
            ValueError: it names what is not known, or uses another function.
        """
        if isinstance(value, list):
            return [each for each in map(self.resolve, value) if each is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._call(name, argument)
        found = {name: self.resolve(each) for name, each in value.items()}
        return {name: each for name, each in found.items() if each is not _NOTHING}

    def _call(self, name: str, argument: Any) -> Any:
        if name == "Ref":
            return self._ref(_text(name, argument))
        if name == "Fn::GetAtt":
            return self._attribute(argument)
        if name == "Fn::Sub":
            return self._sub(argument)
        if name == "Fn::Join":
            return self._join(argument)
        raise ValueError(f"{name} is not supported here; {_SUPPORTED}")

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self.parameters:
            return self.parameters[name]
        return self.name(name)

    def _attribute(self, argument: Any) -> str:
        """`Photos.Arn`, or both apart in a list."""
        parts = argument if isinstance(argument, list) else str(argument).split(".", 1)
        if len(parts) != 2:
            raise ValueError(f"Fn::GetAtt needs a resource and an attribute, not {argument!r}")
        return self.attribute(_text("Fn::GetAtt", parts[0]), _text("Fn::GetAtt", parts[1]))

    def _sub(self, argument: Any) -> str:
        """A text with `${Name}` or `${Name.Attribute}`; a mapping beside it has further names."""
        text, own = argument if _is_pair(argument) else (argument, {})
        if not isinstance(own, dict):
            raise ValueError("Fn::Sub needs a text, or a list of a text and a mapping")
        values = {name: _text("Fn::Sub", self.resolve(each)) for name, each in own.items()}

        def replace(found: re.Match[str]) -> str:
            name = found[1].strip()
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in values:
                return values[name]
            known = self._attribute(name) if "." in name else self._ref(name)
            return _text(f"${{{name}}}", known)

        return re.sub(r"\$\{([^{}]*)\}", replace, _text("Fn::Sub", text))

    def _join(self, argument: Any) -> str:
        if not _is_pair(argument):
            raise ValueError("Fn::Join needs a list of a delimiter and a list")
        delimiter, parts = self.resolve(argument[0]), self.resolve(argument[1])
        if not isinstance(parts, list):
            raise ValueError("Fn::Join needs a list of a delimiter and a list")
        return _text("Fn::Join", delimiter).join(_text("Fn::Join", each) for each in parts)


def _is_pair(argument: Any) -> bool:
    return isinstance(argument, list) and len(argument) == 2


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place} needs a text")
    return value
