"""A function that tells when it was entered, under many names: each of them starts cold."""

import time

from bucketwheel import function


def moment(event, context):
    return time.time()


for number in range(20):
    function(name=f"cold-{number:02}", memory=128, timeout=10)(moment)
