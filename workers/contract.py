"""Lambda's contract with a function: its environment variables, the headers of an invocation.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.invocation import Invocation
from storage.configuration import FunctionConfiguration

_ACCOUNT: Final = "000000000000"


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """Which function version an environment runs, and with what."""

    id: str
    configuration: FunctionConfiguration
    task_root: Path
    #: Its own /tmp.
    tmp: Path
    #: Region, endpoint and role credentials.
    variables: Mapping[str, str]


def variables(spec: EnvironmentSpec, port: int) -> dict[str, str]:
    """The variables of an environment: the function's own, then Lambda's reserved ones."""
    configuration = spec.configuration
    root, version = str(spec.task_root), str(configuration.version)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": str(spec.tmp),
        **configuration.environment,
        **spec.variables,
        "TMPDIR": str(spec.tmp),
        "_HANDLER": configuration.handler,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": configuration.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{configuration.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[{version}]{spec.id}",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_SDK_UA_APP_ID": spec.id,
        "LAMBDA_TASK_ROOT": root,
        "LAMBDA_RUNTIME_DIR": root,
    }


def headers(invocation: Invocation, spec: EnvironmentSpec) -> dict[str, str]:
    """What comes with an invocation, beside its event."""
    deadline = int((time.time() + spec.configuration.timeout) * 1000)
    region = spec.variables.get("AWS_REGION", "us-east-1")
    arn = f"arn:aws:lambda:{region}:{_ACCOUNT}:function:{spec.configuration.name}"
    return {
        "Lambda-Runtime-Aws-Request-Id": invocation.id,
        "Lambda-Runtime-Deadline-Ms": str(deadline),
        "Lambda-Runtime-Invoked-Function-Arn": arn,
        "Lambda-Runtime-Trace-Id": _trace_id(invocation.id),
    }


def _trace_id(id: str) -> str:
    """X-Ray's form, so that libraries that parse it do; nothing is sampled."""
    digits = f"{id.replace('-', ''):0<32}"[:24]
    return f"Root=1-{int(time.time()):08x}-{digits};Sampled=0"
