"""When which fault comes: by a seed, so that a run can be had again, as far as machines allow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaos.faults import Fault, Kind
from chaos.world import World

#: Seconds between two faults.
PAUSES: Final = (0.5, 4.0)
#: Seconds of quiet after a worker's death, in which its work must run again.
QUIET: Final = 12.0
#: Seconds to wait for all to be well again.
HEALING: Final = 90.0

Tell = Callable[[str], None]


@dataclass
class Schedule:
    """Has faults happen until the time is over."""

    world: World
    tell: Tell
    faults: list[Fault] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self, kinds: Sequence[Kind], seconds: float) -> None:
        """One after the other, each as often as it is wanted in a round of all."""
        end = time.monotonic() + seconds
        for kind in _rounds(kinds, self.world.dice):
            self.world.over.wait(self.world.dice.uniform(*PAUSES))
            if kind.is_measured:
                self.heal()
            if time.monotonic() > end:
                return
            self.begin(kind)
            if kind.is_measured:
                self.world.over.wait(QUIET)

    def begin(self, kind: Kind) -> None:
        """Have one happen."""
        fault = Fault(kind.name, time.monotonic())
        self.faults.append(fault)
        self.tell(kind.name)
        thread = threading.Thread(target=kind.happen, args=(self.world, fault))
        self._threads.append(thread)
        thread.start()

    def heal(self) -> None:
        """Wait for the end of all faults, and until everything is there again."""
        for each in self._threads:
            each.join()
        end = time.monotonic() + HEALING
        while not self.world.is_whole() and time.monotonic() < end:
            self.world.over.wait(0.2)

    def stop(self) -> None:
        """End all faults now."""
        self.world.over.set()
        for each in self._threads:
            each.join()


def _rounds(kinds: Sequence[Kind], dice: random.Random) -> Iterator[Kind]:
    """Each round has all of them, in an order of its own."""
    while True:
        deck = [kind for kind in kinds for _ in range(kind.times)]
        dice.shuffle(deck)
        yield from deck
