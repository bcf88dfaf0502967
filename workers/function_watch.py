"""The function watch: keeps this worker's view of the deployed functions fresh."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from broker.connection import UNAVAILABLE, connect
from broker.functions import DeployedFunctions
from broker.settings import BrokerSettings
from storage.configuration import FunctionConfiguration
from storage.errors import StorageError

log = logging.getLogger("bucketwheel.functions")

#: Seconds between looks at the count of changes.
INTERVAL: Final = 0.5

Functions = Mapping[str, FunctionConfiguration]


class FunctionWatch:
    """Reads the functions whenever their generation changes; start, run_once, stop."""

    def __init__(
        self,
        settings: BrokerSettings,
        read: Callable[[], Functions],
        tell: Callable[[Functions], None],
    ) -> None:
        self._deployed = DeployedFunctions(connect(settings))
        self._read = read
        self._tell = tell
        self._generation: bytes | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="functions", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End; stopping twice is safe."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def run_once(self) -> None:
        """Look once, and read and tell if anything has changed."""
        with self._lock:
            generation = self._deployed.generation()
            if generation != self._generation:
                self._tell(self._read())
                self._generation = generation

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.run_once()
            except (*UNAVAILABLE, StorageError) as error:
                log.warning("functions cannot be read, trying again: %s", error)
            self._stopping.wait(INTERVAL)
