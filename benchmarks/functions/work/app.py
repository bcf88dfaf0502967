"""One function for each kind of work."""

from kinds import alternate, compute, wait

from bucketwheel import function


@function(name="computing", memory=128, timeout=60)
def computing(event, context):
    compute(event)


@function(name="waiting", memory=128, timeout=60)
def waiting(event, context):
    wait(event)


@function(name="alternating", memory=128, timeout=60)
def alternating(event, context):
    alternate(event)
