"""A function that does nothing, and one that says when it was entered."""

import time

from bucketwheel import function


@function(bucket="noop", prefix="in/", memory=128, timeout=10)
def noop(event, context):
    return None


@function(bucket="latency", prefix="in/", memory=128, timeout=10)
def entered(event, context):
    print("ENTERED", event["Records"][0]["s3"]["object"]["key"], time.time())
