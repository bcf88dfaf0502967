"""Lambda's contract with a function: its environment variables, the headers of an invocation.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import time
from typing import Final

from broker.arn import function_arn
from broker.invocation import Invocation
from workers.runtimes import runtime
from workers.sandbox import EnvironmentSpec, Sandbox

#: How an environment came to be: AWS_LAMBDA_INITIALIZATION_TYPE.
ON_DEMAND: Final = "on-demand"
PROVISIONED: Final = "provisioned-concurrency"
SNAP_START: Final = "snap-start"


def variables(sandbox: Sandbox, port: int, initialization: str) -> dict[str, str]:
    """The variables of an environment: the function's own, then Lambda's reserved ones."""
    spec, configuration = sandbox.spec, sandbox.spec.configuration
    version, opt = str(configuration.version), sandbox.opt
    return {
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{opt}/bin",
        "LD_LIBRARY_PATH": f"{sandbox.task_root}:{sandbox.task_root}/lib:{opt}/lib",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": sandbox.tmp,
        **configuration.environment,
        **spec.variables,
        "TMPDIR": sandbox.tmp,
        "_HANDLER": configuration.handler,
        "AWS_LAMBDA_FUNCTION_NAME": configuration.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{configuration.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[{version}]{spec.id}",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_SDK_UA_APP_ID": spec.id,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_TASK_ROOT": sandbox.task_root,
        "LAMBDA_RUNTIME_DIR": sandbox.task_root,
        **runtime(configuration.runtime).variables(sandbox),
    }


def headers(invocation: Invocation, spec: EnvironmentSpec, left: float) -> dict[str, str]:
    """What comes with an invocation that has `left` seconds, beside its event."""
    deadline = int((time.time() + left) * 1000)
    region = spec.variables.get("AWS_REGION", "us-east-1")
    return {
        "Lambda-Runtime-Aws-Request-Id": invocation.id,
        "Lambda-Runtime-Deadline-Ms": str(deadline),
        "Lambda-Runtime-Invoked-Function-Arn": function_arn(region, spec.configuration.name),
        "Lambda-Runtime-Trace-Id": _trace_id(invocation.id),
    }


def _trace_id(id: str) -> str:
    """X-Ray's form, so that libraries that parse it do; nothing is sampled."""
    digits = f"{id.replace('-', ''):0<32}"[:24]
    return f"Root=1-{int(time.time()):08x}-{digits};Sampled=0"
