"""A function that imports boto3, as most do."""

import time

import boto3

from bucketwheel import function


@function(memory=256, timeout=30)
def moment_with_boto3(event, context):
    return [time.time(), boto3.__version__]
