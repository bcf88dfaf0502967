"""A function that says when it was entered and stays for a while, with a snapshot and without."""

import time

from bucketwheel import function


def stay(event, context):
    now = time.time()
    time.sleep(event["seconds"])
    return now


function(name="plain", memory=256, timeout=60)(stay)
function(name="plain-snapshot", memory=256, timeout=60, snap_start=True)(stay)
