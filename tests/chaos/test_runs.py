"""What functions tell of their runs, and who hears it."""

from __future__ import annotations

import threading
from contextlib import suppress

from chaos.runs import listening
from tests.conftest import wait_until


def test_an_interrupt_leaves_no_thread_behind() -> None:
    """It would go on polling a descriptor that is somebody else's by then."""
    before = set(threading.enumerate())

    with suppress(KeyboardInterrupt), listening():
        raise KeyboardInterrupt

    wait_until(lambda: set(threading.enumerate()) <= before, "no thread is left")
