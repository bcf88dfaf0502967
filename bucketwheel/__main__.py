"""`python -m bucketwheel`."""

from bucketwheel.cli import main

main()
