"""Destinations of a template, `{Type, Destination}` in AWS's words, as those of this system.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-eventinvokedestinationconfiguration.html
"""

from __future__ import annotations

from typing import Any, Final

#: What there is instead of AWS's services that are not here, by SAM's type and an ARN's service.
_INSTEAD: Final = {
    "sqs": "a Redis list, `redis:LIST`",
    "sns": "an address that takes POST, `https://…`",
    "eventbridge": "a function, `function:NAME`, or an address that takes POST, `https://…`",
    "events": "a function, `function:NAME`, or an address that takes POST, `https://…`",
}
_OURS: Final = ("function:", "redis:", "s3://", "http://", "https://")


def destination(value: Any) -> Any:
    """AWS's description of a destination, in this system's form; which may stand there as well.

    Raises:
        ValueError: it is of a service that is not here; the message says what is instead.
    """
    if not isinstance(value, dict):
        return value
    unknown = sorted(value.keys() - {"Type", "Destination"})
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not supported here; Type and Destination are")
    kind, address = str(value.get("Type", "")), value.get("Destination")
    _must_be_here(kind.lower(), kind)
    if not isinstance(address, str):
        raise ValueError("Destination is missing")
    return address if address.startswith(_OURS) else _named(kind, address)


def _named(kind: str, address: str) -> str:
    """A name alone, or the end of an ARN: `arn:aws:lambda:us-east-1:0:function:name:alias`."""
    parts = address.split(":")
    if parts[0] == "arn" and len(parts) > 5:
        service, name = parts[2], parts[6] if parts[5] == "function" else parts[5]
        _must_be_here(service, address)
    else:
        service, name = kind.lower(), address
    if service == "lambda":
        return f"function:{name}"
    if service in ("s3", "s3bucket"):
        return f"s3://{name}"
    raise ValueError(f"{address!r}: Type must be Lambda or S3Bucket, or Destination one of {_OURS}")


def _must_be_here(service: str, shown: str) -> None:
    if service in _INSTEAD:
        raise ValueError(f"{shown} is not here; there is {_INSTEAD[service]}")
