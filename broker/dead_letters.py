"""The dead letters that are kept: found, retried, purged, in pieces of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from redis import Redis

from broker import keys, message
from broker.clock import milliseconds
from broker.dead_letter import DeadLetter, parse
from broker.errors import DeadLetterNotFound
from broker.scripts import Argument, Script

#: Letters looked at in one step; each may hold an event of a megabyte.
STEP: Final = 50

#: What came of a retry: on its way again; gone before; its function is not deployed; what it holds
#: cannot be run at all.
Revival = Literal["retried", "gone", "not deployed", "unusable"]
_REVIVALS: Final[dict[int, Revival]] = {1: "retried", 0: "gone", -1: "not deployed"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: all that fit everything that is said."""

    ids: tuple[str, ...] = ()
    function: str | None = None
    #: Part of the reason, in letters of any case.
    reason: str = ""
    #: Seconds since they were given up.
    older_than: float | None = None
    newer_than: float | None = None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether a letter of the right age is meant."""
        if self.function is not None and letter.function != self.function:
            return False
        return self.reason.casefold() in letter.reason.casefold()


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a search."""

    #: Letters looked at.
    looked: int
    letters: list[DeadLetter]


class DeadLetters:
    """The store of dead letters; any number may work on it at once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._revive = Script("revive")

    def count(self, selection: Selection = Selection()) -> int:
        """Letters that a search looks at; without a selection, all there are."""
        if selection.ids:
            return len(selection.ids)
        return int(self._redis.zcount(keys.DEAD_INDEX, *self._scores(selection)))

    def get(self, id: str) -> DeadLetter:
        """One letter.

        Raises:
            DeadLetterNotFound: none of that id is kept.
        """
        found: Any = self._redis.hget(keys.DEAD, id)
        if found is None:
            raise DeadLetterNotFound(
                f"no dead letter {id} is kept: `bucketwheel dead list` shows those that are"
            )
        return parse(found)

    def find(self, selection: Selection) -> Iterator[Piece]:
        """What is selected, the newest first.

        Letters may be taken away, and new ones come, while this goes on: it walks down by rank, so
        that neither has it miss one.
        """
        for step in _steps(selection.ids) if selection.ids else self._by_age(selection):
            letters = [each for each in self._read(step) if selection.fits(each)]
            yield Piece(len(step), letters)

    def retry(self, letters: Sequence[DeadLetter]) -> Counter[Revival]:
        """Put letters back on their way, with their attempts counted anew."""
        sent = [each for each in map(_revival, letters) if each is not None]
        arguments = [part for each in sent for part in each]
        answers: list[int] = self._revive.run(self._redis, *arguments) if sent else []
        done: Counter[Revival] = Counter(_REVIVALS[answer] for answer in answers)
        done["unusable"] += len(letters) - len(sent)
        return done

    def purge(self, letters: Iterable[DeadLetter]) -> int:
        """Forget letters; returns how many there were."""
        ids = [each.id for each in letters]
        if not ids:
            return 0
        pipeline = self._redis.pipeline()
        pipeline.hdel(keys.DEAD, *ids)
        pipeline.zrem(keys.DEAD_INDEX, *ids)
        return int(pipeline.execute()[0])

    def _by_age(self, selection: Selection) -> Iterator[Sequence[str]]:
        least, most = self._scores(selection)
        older = 0 if least == "-inf" else self._redis.zcount(keys.DEAD_INDEX, "-inf", f"({least}")
        first = int(older)
        last = first + int(self._redis.zcount(keys.DEAD_INDEX, least, most)) - 1
        while last >= first:
            start = max(first, last - STEP + 1)
            found: Any = self._redis.zrange(keys.DEAD_INDEX, start, last)
            yield [id.decode() for id in reversed(found)]
            last = start - 1

    def _scores(self, selection: Selection) -> tuple[str, str]:
        """Milliseconds between which they were given up."""
        now = milliseconds(self._redis)
        newer, older = selection.newer_than, selection.older_than
        least = "-inf" if newer is None else str(now - int(newer * 1000))
        most = "+inf" if older is None else str(now - int(older * 1000))
        return least, most

    def _read(self, ids: Sequence[str]) -> list[DeadLetter]:
        found: Any = self._redis.hmget(keys.DEAD, list(ids)) if ids else []
        return [parse(each) for each in found if each is not None]


def _steps(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), STEP):
        yield ids[at : at + STEP]


def _revival(letter: DeadLetter) -> tuple[Argument, ...] | None:
    """What a letter holds, as the script takes it; None: nothing that could be run."""
    if letter.destination:
        return letter.id, "record", letter.function, letter.event, letter.destination
    if letter.function == keys.INTAKE:
        return letter.id, "notification", letter.function, letter.event, ""
    if letter.function == keys.WORKER:
        function = _addressee(letter.event)
        return None if function is None else (letter.id, "message", function, letter.event, "")
    rendered = message.render(letter.function, [letter.id], "again")
    return letter.id, "invocation", letter.function, letter.event, rendered


def _addressee(text: bytes) -> str | None:
    """The function whose queue a Celery message was in; None: it is no such message."""
    try:
        queue = str(orjson.loads(text)["properties"]["delivery_info"]["routing_key"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return queue.removeprefix("function.") if queue.startswith("function.") else None
