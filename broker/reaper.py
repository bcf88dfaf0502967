"""The reaper: brings back what a dead process, a lost message or a delay holds.

What no worker survives is given up, and what is older than its function's maximum event age.

Five kinds, each found by reading and moved by a script that looks again before it acts, so that
any number of intakes may run it: retries that are due, invocations of dead workers, messages lost
on their way (Celery's transport pops before it protects), events too old, events of dead intakes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from redis import Redis

from broker import keys, message
from broker.batches import PIECE
from broker.clock import milliseconds
from broker.giving_up import GivingUp
from broker.invocation import FunctionFault
from broker.ledger import fault_of
from broker.liveness import dead_intakes, dead_workers
from broker.scripts import Argument, Script
from storage.configuration import FunctionConfiguration

log = logging.getLogger("bucketwheel.reaper")

#: Entries moved in one call.
BATCH: Final = 200
#: Calls for what is due, in one round: a batch of 10,000 records may be due at once.
ROUNDS: Final = 50
#: Milliseconds a message must be overdue before it is taken for lost.
PATIENCE: Final = 5_000
#: Workers that one invocation may outlive; what has ended that many ends the next one too.
WORKERS_LOST: Final = 3
#: In the place of what is given up: letter, reason, reply, destination, record.
_NONE: Final = ("", "", "", "", "")
#: Fields of a ledger entry by which its next step is decided.
_FIELDS: Final = ("function", "attempt", "label", "lost", "reply", "at", "fault")
_WORKER_LOST: Final = FunctionFault(
    "Runtime.WorkerLost", f"the worker has died {WORKERS_LOST} times while it ran this"
)


class Reaper:
    """Run once a second by every intake."""

    def __init__(self, redis: Redis, region: str = "us-east-1") -> None:
        self._redis = redis
        self._giving_up = GivingUp(redis, region)
        self._requeue, self._inherit = Script("requeue"), Script("inherit")
        self._bury, self._prune = Script("bury"), Script("prune")
        self._settle, self._pulse = Script("settle"), Script("pulse")

    def use(self, functions: Mapping[str, FunctionConfiguration]) -> None:
        """Take the deployed functions as they now are: they say what is too old."""
        self._giving_up.functions = functions

    def run_once(self) -> int:
        """Look for all five kinds; returns the number of invocations put back."""
        tells_dead = self._pulse.run(self._redis)
        self.give_back_events()
        self.give_up_old()
        self.settle_batches()
        put_back = self.close_batches() + self.retry_due() + self.replace_lost_messages()
        return put_back + (self.bury_workers() if tells_dead else 0)

    def retry_due(self) -> int:
        """Queue the invocations whose delay is over."""
        return self._put_back_due(keys.DELAYED, "delayed")

    def close_batches(self) -> int:
        """Queue the batches that are full, or whose window is over."""
        return self._put_back_due(keys.GATHERING, "gathering")

    def settle_batches(self) -> None:
        """Go on with the records of batches that have ended, a piece at a time."""
        ended: Any = self._redis.smembers(keys.SETTLING)
        while ended and self._settle.run(self._redis, PIECE, *ended):
            pass

    def bury_workers(self) -> int:
        """Queue again what dead workers held."""
        put_back = 0
        for worker in dead_workers(self._redis):
            held: Any = self._redis.hkeys(keys.running(worker))
            count = sum(
                self._put_back("running", held[at : at + BATCH])
                for at in range(0, len(held), BATCH)
            )
            log.warning("worker %s is gone: %d of its invocations are queued again", worker, count)
            put_back += count
            self._bury.run(self._redis, worker)
        return put_back

    def replace_lost_messages(self) -> int:
        """Queue again what the ledger says is queued although its message is gone.

        Queues are first in, first out: whatever was queued well before the oldest message still
        there has lost its own.
        """
        put_back = 0
        for function in self._queues():
            lost = self._lost(function)
            if lost:
                count = self._put_back("queued", lost)
                log.warning("%d lost messages of %s are replaced", count, function)
                put_back += count
        return put_back

    def give_up_old(self) -> None:
        """Give up what has waited in line for longer than its function's maximum event age.

        What came back into line, after a failure say, is counted from then: it is found later
        than by its age, but for what a worker takes or what comes out of a delay.
        """
        ages = {each: self._giving_up.maximum_age(each) for each in self._queues()}
        limits = {function: age for function, age in ages.items() if age is not None}
        now = milliseconds(self._redis)
        pipeline = self._redis.pipeline(transaction=False)
        for function, age in limits.items():
            then = str(now - age * 1000)
            pipeline.zrange(keys.queued(function), "-inf", then, byscore=True, offset=0, num=BATCH)
        for function, old in zip(limits, pipeline.execute(), strict=True):
            for id, entry in self._entries(old):
                fault = self._fault("queued", entry, now)
                if fault is not None:
                    self._give_up("queued", id, entry["function"], entry["attempt"], fault)
            if old:
                self._prune.run(self._redis, function, BATCH)

    def give_up(self, ids: Iterable[str], fault: FunctionFault) -> int:
        """Give up invocations that wait in line, whatever their age; returns how many did."""
        given_up = 0
        for id in ids:
            found: Any = self._redis.hmget(keys.invocation(id), "state", "function", "attempt")
            state, function, attempt = found
            if state == b"queued":
                self._give_up("queued", id, function, attempt, fault, patience=0)
                given_up += 1
        return given_up

    def _give_up(
        self,
        state: str,
        id: str,
        function: bytes,
        attempt: bytes,
        fault: FunctionFault,
        patience: int = PATIENCE,
    ) -> None:
        """Each by itself: its event may be large, and so may its record."""
        arguments = self._giving_up.arguments(id, int(attempt or 0), fault)
        self._requeue.run(self._redis, state, patience, id, function, attempt, "", *arguments)

    def give_back_events(self) -> None:
        """Give the events of dead intakes back to the list all intakes take from."""
        for intake in dead_intakes(self._redis):
            count = self._inherit.run(self._redis, intake)
            if count > 0:
                log.warning("intake %s is gone: %d of its events are taken over", intake, count)

    def _put_back_due(self, key: str, state: str) -> int:
        put_back = 0
        for _ in range(ROUNDS):
            due: Any = self._redis.zrange(
                key, "-inf", str(milliseconds(self._redis)), byscore=True, offset=0, num=BATCH
            )
            put_back += self._put_back(state, due)
            if len(due) < BATCH:
                break
        return put_back

    def _queues(self) -> list[str]:
        functions: Any = self._redis.smembers(keys.QUEUES)
        return sorted(each.decode() for each in functions)

    def _entries(self, ids: Iterable[bytes]) -> list[tuple[str, dict[str, bytes]]]:
        """Ledger entries by their ids, as far as they matter here."""
        names = [id.decode() for id in ids]
        pipeline = self._redis.pipeline(transaction=False)
        for id in names:
            pipeline.hmget(keys.invocation(id), *_FIELDS)
        return [(id, _entry(found)) for id, found in zip(names, pipeline.execute(), strict=True)]

    def _lost(self, function: str) -> list[bytes]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.lindex(keys.queue(function), -1)
        pipeline.zrange(keys.queued(function), 0, 0, withscores=True)
        oldest_message, oldest_entry = pipeline.execute()
        now = milliseconds(self._redis)
        if not oldest_entry or oldest_entry[0][1] > now - PATIENCE:
            return []
        before = now
        if oldest_message is not None:
            ids = message.delivered(oldest_message)
            scores: Any = self._redis.zmscore(keys.queued(function), ids) if ids else []
            before = max((int(score) for score in scores if score is not None), default=0)
        lost: Any = self._redis.zrange(
            keys.queued(function), "-inf", str(before - PATIENCE), byscore=True, offset=0, num=BATCH
        )
        return list(lost)

    def _put_back(self, state: str, ids: Iterable[bytes]) -> int:
        """Render each invocation's message anew and queue it, if its state is still this one.

        What is not to be tried any more is given up instead.
        """
        arguments: list[Argument] = [state, PATIENCE]
        now = milliseconds(self._redis)
        for id, entry in self._entries(ids):
            fault = self._fault(state, entry, now)
            if fault is None:
                label = entry["label"].decode("utf-8", "replace")
                rendered = message.render(entry["function"].decode(), [id], label)
                arguments += (id, entry["function"], entry["attempt"], rendered, *_NONE)
            else:
                self._give_up(state, id, entry["function"], entry["attempt"], fault)
        return int(self._requeue.run(self._redis, *arguments)) if arguments[2:] else 0

    def _fault(self, state: str, entry: Mapping[str, bytes], now: int) -> FunctionFault | None:
        """Why an invocation is given up that was found in this state; None: it is tried again."""
        if entry["fault"]:
            return fault_of(entry["fault"])
        if state == "running" and int(entry["lost"] or 0) + 1 >= WORKERS_LOST:
            return _WORKER_LOST
        age = (now - int(entry["at"] or now)) / 1000
        return self._giving_up.too_old(entry["function"].decode(), age, bool(entry["reply"]))


def _entry(found: list[bytes | None]) -> dict[str, bytes]:
    """Fields of a ledger entry by their names; those that are missing are empty."""
    return {name: value or b"" for name, value in zip(_FIELDS, found, strict=True)}
