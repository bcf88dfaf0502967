"""The same with boto3 and a client, with a snapshot and without."""

import time

import boto3

from bucketwheel import function

S3 = boto3.client("s3")


def stay(event, context):
    now = time.time()
    time.sleep(event["seconds"])
    return now


function(name="boto3", memory=256, timeout=60)(stay)
function(name="boto3-snapshot", memory=256, timeout=60, snap_start=True)(stay)
