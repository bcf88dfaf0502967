"""A template, read and validated: which functions, layers and buckets it asks for, of what code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from broker.arn import function_arn
from bucketwheel.builds import Code, family
from bucketwheel.errors import TemplateError
from bucketwheel.template.document import load
from bucketwheel.template.function import declaration, merged
from bucketwheel.template.intrinsics import Resolver, pseudo_parameters
from bucketwheel.template.resources import (
    BUCKET,
    FUNCTION,
    LAYER,
    MEANINGLESS,
    MEANINGLESS_TYPES,
    BucketProperties,
    Extras,
    FunctionProperties,
    LayerProperties,
    Parameter,
    Resource,
    TemplateText,
)
from storage.configuration import FunctionDeclaration
from workers.manifest import LayerDeclaration

NAMES: Final = ("template.yaml", "template.yml")

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Template:
    """What a template asks for, and what of it has no meaning here."""

    path: Path
    functions: tuple[tuple[FunctionDeclaration, Code], ...]
    layers: tuple[tuple[LayerDeclaration, Code], ...]
    buckets: tuple[str, ...]
    remarks: tuple[str, ...]


def find(source: Path) -> Path | None:
    """The template that a path means: such a file, or one in a folder; None: it means none."""
    if source.is_dir():
        return next((source / name for name in NAMES if (source / name).is_file()), None)
    return source if source.suffix in (".yaml", ".yml") else None


def read(path: Path, parameters: Mapping[str, str], region: str) -> Template:
    """Read a template, with values for its parameters.

    Raises:
        TemplateError: it says what is not known or not supported here; one line that names the
            file, the resource and the property.
    """
    return _Reading(path, parameters, region).template()


class _Reading:
    """One template while it is read."""

    def __init__(self, path: Path, parameters: Mapping[str, str], region: str) -> None:
        self._path = path
        self._text = self._at("", lambda: TemplateText.model_validate(load(path)))
        self._region = region
        self._resolver = Resolver(
            {**pseudo_parameters(region), **self._values(parameters)}, self._name, self._attribute
        )
        #: Logical ids whose names are being looked for: one that comes again refers to itself.
        self._asked: list[str] = []
        self._remarks: list[str] = []

    def template(self) -> Template:
        """Everything, resource by resource."""
        for id, resource in self._text.resources.items():
            self._check_type(id, resource)
        functions = tuple(self._function(id, each) for id, each in self._of(FUNCTION))
        layers = tuple(self._layer(id, each) for id, each in self._of(LAYER))
        buckets = tuple(self._bucket(id, each) for id, each in self._of(BUCKET))
        self._check_names("functions", [each.name for each, _ in functions])
        self._check_names("layers", [each.name for each, _ in layers])
        if not functions and not layers:
            raise TemplateError(f"{self._path}: it has no {FUNCTION} and no {LAYER}")
        return Template(self._path, functions, layers, buckets, tuple(self._remarks))

    # -- resources ------------------------------------------------------------------------------

    def _function(self, id: str, resource: Resource) -> tuple[FunctionDeclaration, Code]:
        shared, own = self._meant(id, FUNCTION, self._text.globals.function, resource.properties)
        given = merged(self._resolved("Globals: Function", shared), self._resolved(id, own))
        properties = self._model(id, FunctionProperties, given)
        extras = self._extras(id, resource)
        declared = self._at(id, lambda: declaration(properties, self._name(id), extras))
        if properties.snap_start.apply_on != "None" and not declared.snap_start:
            self._remark(id, f"SnapStart has no meaning here for {properties.runtime}")
        return declared, self._code(id, resource, properties)

    def _extras(self, id: str, resource: Resource) -> Extras:
        given = resource.metadata.get("Bucketwheel", {})
        place = f"{id}: Metadata.Bucketwheel"
        return self._at(place, lambda: Extras.model_validate(self._resolve(given)))

    def _layer(self, id: str, resource: Resource) -> tuple[LayerDeclaration, Code]:
        (given,) = self._meant(id, LAYER, resource.properties)
        properties = self._model(id, LayerProperties, self._resolved(id, given))
        runtimes = properties.compatible_runtimes
        declared = self._at(id, lambda: LayerDeclaration(name=self._name(id), runtimes=runtimes))
        method, runtime = self._method(id, resource), ""
        if method not in ("", "makefile"):
            runtime = method
            if family(runtime) not in ("python", "nodejs"):
                raise self._error(id, "Metadata.BuildMethod", _unsupported_method(method))
        path = self._source(id, "ContentUri", properties.content_uri)
        target = id if method == "makefile" else ""
        return declared, Code(path, runtime, target, is_layer=True)

    def _bucket(self, id: str, resource: Resource) -> str:
        (given,) = self._meant(id, BUCKET, resource.properties)
        name = self._at(id, partial(self._name, id))
        self._model(id, BucketProperties, {**self._resolved(id, given), "BucketName": name})
        return name

    # -- code -----------------------------------------------------------------------------------

    def _code(self, id: str, resource: Resource, properties: FunctionProperties) -> Code:
        runtime, method = properties.runtime, self._method(id, resource)
        if properties.inline_code is not None:
            if family(runtime) not in ("python", "nodejs"):
                raise self._error(id, "InlineCode", f"it is no way to write code for {runtime}")
            return Code(self._path, runtime, inline=properties.inline_code)
        own = "go" if family(runtime) == "provided" else family(runtime)
        if method not in ("", "makefile") and family(method) != own:
            raise self._error(id, "Metadata.BuildMethod", _unsupported_method(method))
        path = self._source(id, "CodeUri", properties.code_uri)
        return Code(path, runtime, id if method == "makefile" else "")

    def _method(self, id: str, resource: Resource) -> str:
        method = resource.metadata.get("BuildMethod", "")
        if not isinstance(method, str):
            raise self._error(id, "Metadata.BuildMethod", "it must be a text")
        return method

    def _source(self, id: str, name: str, given: str) -> Path:
        if given.startswith(("s3:", "http:", "https:")):
            raise self._error(id, name, f"{given!r} is elsewhere: it must be on this machine")
        path = self._path.parent / given
        if not os.path.exists(path):  # unlike Path.exists, whatever text it is
            raise self._error(id, name, f"{path} does not exist")
        if path.is_file() and path.suffix not in (".zip", ".jar"):
            raise self._error(id, name, f"{path} is no folder, .zip or .jar")
        return path

    # -- names ----------------------------------------------------------------------------------

    def _name(self, id: str) -> str:
        """What a resource is called here: its own name, or its logical id.

        Raises:
            ValueError: there is no such resource, or its name refers to itself.
        """
        resource = self._text.resources.get(id)
        if resource is None:
            raise ValueError(f"{id!r} is no parameter and no resource of the template")
        property = {FUNCTION: "FunctionName", LAYER: "LayerName", BUCKET: "BucketName"}.get(
            resource.type
        )
        if property is None:
            raise ValueError(f"{id!r} is a {resource.type}, which is not supported here")
        if id in self._asked:
            raise ValueError(f"the name of {id!r} refers to itself")
        self._asked.append(id)
        try:
            given = self._resolve(resource.properties.get(property, ""))
        finally:
            self._asked.pop()
        if not isinstance(given, str):
            raise ValueError(f"the name of {id!r} must be a text")
        return given or (id.lower() if resource.type == BUCKET else id)

    def _attribute(self, id: str, attribute: str) -> str:
        name, resource = self._name(id), self._text.resources[id]
        if attribute != "Arn" or resource.type == LAYER:
            raise ValueError(f"{id}.{attribute} is not known here; Arn of functions and buckets is")
        if resource.type == BUCKET:
            return f"arn:aws:s3:::{name}"
        return function_arn(self._region, name)

    def _values(self, given: Mapping[str, str]) -> dict[str, str | list[str]]:
        """What each parameter is."""
        for name in given.keys() - self._text.parameters.keys():
            known = ", ".join(self._text.parameters) or "none"
            raise TemplateError(f"{self._path}: it has no parameter {name!r}; it has: {known}")
        return {
            name: self._value(name, parameter, given.get(name, parameter.default))
            for name, parameter in self._text.parameters.items()
        }

    def _value(self, name: str, parameter: Parameter, value: str | None) -> str | list[str]:
        place = f"{self._path}: Parameters: {name}"
        if value is None:
            raise TemplateError(f"{place}: it has no default: give it with --parameter {name}=...")
        if parameter.allowed_values is not None and value not in parameter.allowed_values:
            allowed = ", ".join(parameter.allowed_values)
            raise TemplateError(f"{place}: {value!r} is not allowed; these are: {allowed}")
        if parameter.type == "CommaDelimitedList":
            return [each.strip() for each in value.split(",")]
        return value

    # -- faults ---------------------------------------------------------------------------------

    def _check_type(self, id: str, resource: Resource) -> None:
        if resource.type in MEANINGLESS_TYPES:
            self._remark(id, f"{resource.type} has no meaning here")
        elif resource.type not in MEANINGLESS:
            raise self._error(id, "Type", f"{resource.type} is not supported here")

    def _check_names(self, what: str, names: list[str]) -> None:
        for name in names:
            if names.count(name) > 1:
                raise TemplateError(f"{self._path}: {names.count(name)} {what} are named {name!r}")

    def _of(self, type: str) -> list[tuple[str, Resource]]:
        return [(id, each) for id, each in self._text.resources.items() if each.type == type]

    def _resolve(self, value: Any) -> Any:
        return self._resolver.resolve(value)

    def _meant(self, id: str, type: str, *given: dict[str, Any]) -> list[dict[str, Any]]:
        """Properties that have a meaning here; it is told which have none."""
        without = sorted(MEANINGLESS[type].intersection(name for each in given for name in each))
        if without:
            has = "has" if len(without) == 1 else "have"
            self._remark(id, f"{', '.join(without)} {has} no meaning here")
        return [{name: each[name] for name in each if name not in without} for each in given]

    def _resolved(self, place: str, given: dict[str, Any]) -> dict[str, Any]:
        """Properties with everything in them resolved, but for those that are AWS::NoValue."""
        found: dict[str, Any] = {}
        for name, value in given.items():
            for each in self._at(f"{place}: {name}", partial(self._resolve, [value])):
                found[name] = each
        return found

    def _model(self, id: str, model: type[M], given: dict[str, Any]) -> M:
        return self._at(id, lambda: model.model_validate(given))

    def _at(self, place: str, make: Callable[[], T]) -> T:
        """Make something; its fault gets its place in the template."""
        try:
            return make()
        except ValidationError as error:
            reason = _in_words(error)
        except ValueError as error:
            reason = str(error)
        except RecursionError:
            reason = "it is nested too deeply"
        raise TemplateError(_line(self._path, place, reason))

    def _error(self, id: str, property: str, reason: str) -> TemplateError:
        return TemplateError(_line(self._path, id, property, reason))

    def _remark(self, id: str, what: str) -> None:
        self._remarks.append(_line(self._path, id, what))


def _line(path: Path, *parts: str) -> str:
    return ": ".join((str(path), *(" ".join(part.split()) for part in parts if part)))


def _unsupported_method(method: str) -> str:
    return (
        f"{method!r} is not supported here: makefile is, and without a word what the runtime needs"
        " is built"
    )


def _place(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without an event's type, which stands behind its name."""
    return (*loc[:2], *loc[3:]) if loc[:1] == ("Events",) else loc


def _in_words(error: ValidationError) -> str:
    """The first fault, with the property's place and what it was."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in _place(fault["loc"]))
    given, reason = fault["input"], fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        reason = "it is not supported here"
    elif fault["type"] == "missing":
        reason = "it is missing"
    elif fault["type"] == "union_tag_not_found":
        place, reason = f"{place}.Type", "it is missing"
    elif fault["type"] == "union_tag_invalid":
        place, known = f"{place}.Type", fault["ctx"]["expected_tags"]
        reason = f"{fault['ctx']['tag']!r} is not supported here; these are: {known}"
    elif fault["type"] == "literal_error":
        reason = f"{given!r:.100} is not supported here; {fault['ctx']['expected']} is"
    elif isinstance(given, str) and fault["type"] != "value_error":
        reason = f"{reason}, not {given!r:.100}"
    return f"{place}: {reason}" if place else reason
