"""The manifest: what a package says of itself, in `bucketwheel.json` at its root."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Annotated, Final, Self
from zipfile import BadZipFile, ZipFile

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from storage.configuration import (
    FunctionDeclaration,
    LayerName,
    LayerReference,
    RuntimeName,
)
from storage.errors import PackageError
from workers.packages import check_method

MANIFEST: Final = "bucketwheel.json"
#: Bytes, unpacked: names and variables. A bomb must not be read into memory.
LARGEST_MANIFEST: Final = 1024 * 1024
#: What reading a damaged zip file raises.
_DAMAGED: Final = (BadZipFile, zlib.error, EOFError, OSError, LookupError, RuntimeError, ValueError)


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerDeclaration(_Told):
    """What a layer says of itself."""

    name: LayerName
    #: Those that it says it is made for; none: any.
    runtimes: tuple[RuntimeName, ...] = Field(default=(), max_length=15)


def _sorted(variables: dict[str, str]) -> dict[str, str]:
    """The same variables give the same bytes."""
    return dict(sorted(variables.items()))


class Manifest(_Told):
    """One of three: modules that declare functions, declarations of functions, or a layer."""

    modules: tuple[str, ...] = ()
    functions: tuple[FunctionDeclaration, ...] = ()
    layer: LayerDeclaration | None = None
    #: Variables for every function of the package.
    environment: Annotated[dict[str, str], AfterValidator(_sorted)] = {}
    #: What the modules need below /opt to be imported.
    layers: tuple[LayerReference, ...] = ()

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Self:
        if bool(self.modules) + bool(self.functions) + (self.layer is not None) != 1:
            raise ValueError("it must name modules, or functions, or a layer")
        names = [each.name for each in self.functions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{names.count(name)} functions are named {name!r}")
        return self


def read_manifest(package: Path) -> Manifest:
    """Read a package's manifest.

    Raises:
        PackageError: it is no zip file, or has no manifest of the known shape.
    """
    try:
        return Manifest.model_validate_json(_content(package))
    except ValidationError as error:
        reason = f"{MANIFEST}: {in_words(error)}"
    except _DAMAGED as error:
        reason = str(error.args[0] if error.args else error)
    raise PackageError(f"the upload is not a package made by `bucketwheel deploy`: {reason}")


def in_words(error: ValidationError) -> str:
    """Everything that is not of its shape, each with its place."""
    return "; ".join(f"{_place(fault['loc'])}{fault['msg']}" for fault in error.errors())


def _content(package: Path) -> bytes:
    """The manifest's content, a little more of it than is allowed at most."""
    with ZipFile(package) as archive:
        entry = archive.getinfo(MANIFEST)
        check_method(entry)
        with archive.open(entry) as file:
            content = file.read(LARGEST_MANIFEST + 1)
    if len(content) > LARGEST_MANIFEST:
        raise PackageError(f"{MANIFEST} is too large: at most {LARGEST_MANIFEST:,} bytes")
    return content


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(str(part) for part in location)}: " if location else ""
