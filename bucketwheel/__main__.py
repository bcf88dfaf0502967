"""`python -m bucketwheel` is the same as `bucketwheel`."""

from __future__ import annotations

from bucketwheel.cli import main

if __name__ == "__main__":
    main()
