"""The same with boto3 and a client, as most functions have."""

import time

import boto3

from bucketwheel import function

S3 = boto3.client("s3")


def moment(event, context):
    return time.time()


for number in range(20):
    function(name=f"cold-boto3-{number:02}", memory=256, timeout=30)(moment)
