"""What every language does for the conformance suite, in Python."""

from __future__ import annotations

import os
import sys
import time
from typing import Any
from urllib.parse import unquote_plus

import boto3

S3 = boto3.client("s3")
calls = 0


def handler(event: dict[str, Any], context: Any) -> Any:
    """Lambda handler: do what the event says, or what an upload's event asks for."""
    global calls
    calls += 1
    if "Records" in event:
        return [copy(record["s3"]) for record in event["Records"]]
    action = event["do"]
    if action == "echo":
        return event
    if action == "fail":
        raise LookupError("no bread here")
    if action == "sleep":
        time.sleep(event["seconds"])
    if action == "exit":
        os._exit(3)
    if action == "environment":
        return dict(os.environ)
    if action == "print":
        print("printed")
        print("complained", file=sys.stderr)
    if action == "count":
        return calls
    if action == "large":
        return "x" * event["size"]
    if action == "context":
        return {
            "id": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "function": context.function_name,
            "left": context.get_remaining_time_in_millis(),
        }
    return None


def copy(s3: dict[str, Any]) -> str:
    """Copy `in/<name>` to `out/<name>`."""
    bucket, key = s3["bucket"]["name"], unquote_plus(s3["object"]["key"])
    body = S3.get_object(Bucket=bucket, Key=key)["Body"].read()
    S3.put_object(Bucket=bucket, Key=key.replace("in/", "out/", 1), Body=body)
    return key
