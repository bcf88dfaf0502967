"""The same with boto3, numpy and Pillow, with a snapshot and without."""

import time

import boto3
import numpy  # noqa: F401
import PIL.Image  # noqa: F401

from bucketwheel import function

S3 = boto3.client("s3")


def stay(event, context):
    now = time.time()
    time.sleep(event["seconds"])
    return now


function(name="large", memory=256, timeout=60)(stay)
function(name="large-snapshot", memory=256, timeout=60, snap_start=True)(stay)
