"""A publication: invocations and dead letters that enter the ledger in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis import Redis

from broker import message
from broker.batches import Batching
from broker.dead_letter import DeadLetter
from broker.functions import DeployedFunctions
from broker.scripts import Argument, Script
from broker.settings import BrokerSettings

if TYPE_CHECKING:  # who calls by hand does without the store
    from broker.writer import Writer

#: Answers of the script when nothing was published.
TAKEN_OVER: Final = -1
FUNCTIONS_CHANGED: Final = -2
FIRED: Final = -3


@dataclass(frozen=True, slots=True)
class NewInvocation:
    """An invocation before its first attempt."""

    id: str
    function: str
    event: bytes
    #: Shown as the task's arguments: the object's name.
    label: str = ""
    #: Given when it is a record of a batch.
    batching: Batching | None = None
    #: Further fields of its ledger entry.
    fields: Mapping[str, str] = field(default_factory=dict)
    #: Given when a function wrote what it is about.
    writer: Writer | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """A schedule moves on: milliseconds when it was due last, and when it is due now."""

    schedule: str
    last: int
    due: int


@dataclass(slots=True)
class Publication:
    """What one round of an intake, or one call by hand, wants to enter."""

    invocations: list[NewInvocation] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    #: Somebody waits for the responses.
    reply: bool = False
    firings: list[Firing] = field(default_factory=list)
    #: Function and counter -> by how much it is raised.
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


class Publisher:
    """Enters publications: dedupe, ledger, Celery messages and dead letters, all or nothing."""

    def __init__(self, redis: Redis, settings: BrokerSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._deployed = DeployedFunctions(redis)
        self._script = Script("publish", "gather")

    def publish(
        self, publication: Publication, generation: bytes, intake: str = "", taken: int = 0
    ) -> int:
        """Publish, and empty the intake's in-flight list of the events taken.

        `generation` is that of the functions the publication was made by.

        Returns the number of invocations that were new, or `TAKEN_OVER`, `FUNCTIONS_CHANGED`, or
        `FIRED`: a schedule has moved on meanwhile; with these nothing was done.
        """
        messages = list(packs(publication.invocations))
        arguments: list[Argument] = [
            intake,
            taken,
            generation,
            self._settings.duplicate_window,
            "1" if publication.reply else "",
            len(messages),
            len(publication.letters),
            len(publication.firings),
        ]
        for firing in publication.firings:
            arguments += (firing.schedule, firing.last, firing.due)
        for pack in messages:
            arguments += _message(pack)
        for letter in publication.letters:
            arguments += (letter.id, letter.function, letter.render(), letter.reason)
        for (function, counter), amount in publication.counts.items():
            arguments += (function, counter, amount)
        return int(self._script.run(self._redis, *arguments))

    def enter(self, publication: Publication, function: str) -> bool:
        """Publish what is for one function, by name; returns whether that is deployed."""
        while True:
            generation = self._deployed.generation()
            if not self._deployed.has(function):
                return False
            if self.publish(publication, generation) != FUNCTIONS_CHANGED:
                return True

    def keep(self, letter: DeadLetter) -> None:
        """Keep what cannot be delivered; functions do not matter to it."""
        publication = Publication(letters=[letter])
        while self.publish(publication, self._deployed.generation()) < 0:
            pass


def _message(pack: list[NewInvocation]) -> list[Argument]:
    """A message with the invocations it delivers, as the script takes them."""
    first = pack[0]
    label = first.label if len(pack) == 1 else f"{first.label} and {len(pack) - 1} more"
    ids = [each.id for each in pack]
    batching = first.batching
    delivered = batching.render() if batching else message.render(first.function, ids, label)
    arguments: list[Argument] = [first.function, delivered, len(pack)]
    for each in pack:
        arguments += (each.id, each.event, each.label, 2 * len(each.fields))
        arguments += (part for pair in each.fields.items() for part in pair)
    return arguments


#: Invocations of a function below which a round's messages carry one each, so that a small burst
#: spreads over all environments and workers; a deep backlog shares Celery's cost per message.
SHALLOW: Final = 32
PACK: Final = 8


def packs(invocations: Iterable[NewInvocation]) -> Iterator[list[NewInvocation]]:
    """Divide a round's invocations into messages, each of one function; records stay together."""
    kinds: dict[tuple[str, Batching | None], list[NewInvocation]] = defaultdict(list)
    for each in invocations:
        kinds[each.function, each.batching].append(each)
    for (_, batching), those in kinds.items():
        size = 1 if len(those) <= SHALLOW else PACK
        size = len(those) if batching else size
        for at in range(0, len(those), size):
            yield those[at : at + size]
