"""A function that says when it was entered, then stays for a while."""

import time

from bucketwheel import function


@function(name="sleeper", memory=128, timeout=60)
def sleeper(event, context):
    print("ENTERED", event["round"], time.time())
    time.sleep(event["seconds"])
