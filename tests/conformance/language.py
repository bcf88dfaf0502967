"""Languages of the conformance suite: what is the same in all, and what each words its own way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.configuration import PYTHON

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Language:
    """One language with one client, as its functions are deployed."""

    name: str
    runtime: str
    #: Program that builds its functions, and how to get it; empty: nothing is built.
    builder: str = ""
    #: errorType of a handler's own error, whose message is always `no bread here`.
    error: str = ""
    #: What an error's trace names: the handler's file, where the client sends a trace.
    trace: str = ""
    #: errorType of a handler that is not there, and part of its message; none: no such thing.
    missing: tuple[str, str] = ("", "")
    #: errorType of code that cannot be loaded, and part of its message.
    broken: tuple[str, str] = ("Runtime.ExitError", "exit status 1")
    #: A folder of sources below this one, if not by its name.
    sources: str = ""
    streams: bool = False
    #: Whether it has an SDK of AWS's.
    has_sdk: bool = True

    @property
    def folder(self) -> Path:
        """Its sources, with template.yaml."""
        return _HERE / (self.sources or self.name)

    @property
    def execution_environment(self) -> str | None:
        """AWS_EXECUTION_ENV: AWS sets none where the function brings its own runtime."""
        return None if self.runtime.startswith("provided") else f"AWS_Lambda_{self.runtime}"


#: A version that the worker's own is not.
OTHER_PYTHON: Final = "python3.12" if PYTHON != "python3.12" else "python3.13"

_NODEJS: Final = {
    "builder": "npm",
    "error": "RangeError",
    "trace": "app.mjs",
    "missing": ("Runtime.HandlerNotFound", "app.absent is undefined or not exported"),
    "broken": ("Error", "Cannot find package 'absent-module'"),
    "streams": True,
}

_PYTHON: Final = {
    "error": "LookupError",
    "trace": "app.py",
    "missing": ("Runtime.HandlerNotFound", "Handler 'absent' missing on module 'app'"),
    "broken": ("Runtime.ImportModuleError", "No module named 'absent_module'"),
}

LANGUAGES: Final = (
    Language("python", PYTHON, **_PYTHON),  # type: ignore[arg-type]
    Language("python-other", OTHER_PYTHON, sources="python", **_PYTHON),  # type: ignore[arg-type]
    Language("nodejs", "nodejs20.x", **_NODEJS),  # type: ignore[arg-type]
    Language("nodejs-aws", "nodejs24.x", sources="nodejs", **_NODEJS),  # type: ignore[arg-type]
    Language("go", "provided.al2023", builder="go", error="errorString"),
    Language("shell", "provided.al2023", error="Bread", has_sdk=False),
    Language(
        "java",
        "java17",
        builder="mvn",
        error="java.lang.IllegalStateException",
        trace="Main.java",
        missing=("Runtime.BadFunctionCode", "No public method named absent"),
        broken=("java.lang.ExceptionInInitializerError", "Error loading class conformance.Broken"),
    ),
)
