"""The reaper: brings back what a dead process, a lost message or a delay holds.

What no worker survives is given up as a dead letter.

Four kinds, each found by reading and moved by a script that looks again before it acts, so that
any number of intakes may run it: retries that are due, invocations of dead workers, messages lost
on their way (Celery's transport pops before it protects), events of dead intakes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from redis import Redis

from broker import keys, message
from broker.dead_letter import DeadLetter
from broker.invocation import FunctionFault
from broker.ledger import fault_reply
from broker.scripts import Argument, Script

log = logging.getLogger("bucketwheel.reaper")

#: Entries moved in one call.
BATCH: Final = 200
#: Milliseconds a message must be overdue before it is taken for lost.
PATIENCE: Final = 5_000
#: Workers that one invocation may outlive; what has ended that many ends the next one too.
WORKERS_LOST: Final = 3
_NONE: Final = ("", "", "")


class Reaper:
    """Run once a second by every intake."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._requeue, self._inherit = Script("requeue"), Script("inherit")

    def run_once(self) -> int:
        """Look for all four kinds; returns the number of invocations put back."""
        self.give_back_events()
        return self.retry_due() + self.bury_workers() + self.replace_lost_messages()

    def retry_due(self) -> int:
        """Queue the invocations whose delay is over."""
        now = self._now()
        due: Any = self._redis.zrange(
            keys.DELAYED, "-inf", str(now), byscore=True, offset=0, num=BATCH
        )
        return self._put_back("delayed", due)

    def bury_workers(self) -> int:
        """Queue again what dead workers held."""
        put_back = 0
        for worker in self._dead(keys.WORKERS, keys.worker_alive):
            held: Any = self._redis.hkeys(keys.running(worker))
            count = sum(
                self._put_back("running", held[at : at + BATCH])
                for at in range(0, len(held), BATCH)
            )
            log.warning("worker %s is gone: %d of its invocations are queued again", worker, count)
            put_back += count
            if not self._redis.hlen(keys.running(worker)):
                self._redis.srem(keys.WORKERS, worker)
        return put_back

    def replace_lost_messages(self) -> int:
        """Queue again what the ledger says is queued although its message is gone.

        Queues are first in, first out: whatever was queued well before the oldest message still
        there has lost its own.
        """
        functions: Any = self._redis.smembers(keys.QUEUES)
        put_back = 0
        for function in sorted(each.decode() for each in functions):
            lost = self._lost(function)
            if lost:
                count = self._put_back("queued", lost)
                log.warning("%d lost messages of %s are replaced", count, function)
                put_back += count
        return put_back

    def give_back_events(self) -> None:
        """Give the events of dead intakes back to the list all intakes take from."""
        for intake in self._dead(keys.INTAKES, keys.intake_alive):
            count = self._inherit.run(self._redis, intake)
            if count > 0:
                log.warning("intake %s is gone: %d of its events are taken over", intake, count)

    def _lost(self, function: str) -> list[bytes]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.lindex(keys.queue(function), -1)
        pipeline.zrange(keys.queued(function), 0, 0, withscores=True)
        oldest_message, oldest_entry = pipeline.execute()
        now = self._now()
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
        """Render each invocation's message anew and queue it, if its state is still this one."""
        arguments: list[Argument] = [state, PATIENCE]
        names = [id.decode() for id in ids]
        pipeline = self._redis.pipeline(transaction=False)
        for id in names:
            pipeline.hmget(keys.invocation(id), "function", "attempt", "label", "lost")
        for id, found in zip(names, pipeline.execute(), strict=True):
            function, attempt, label, lost = (each or b"" for each in found)
            rendered = message.render(function.decode(), [id], label.decode("utf-8", "replace"))
            arguments += (id, function, attempt, rendered)
            given_up = state == "running" and int(lost or 0) + 1 >= WORKERS_LOST
            arguments += self._letter(id, function.decode(), int(attempt)) if given_up else _NONE
        return int(self._requeue.run(self._redis, *arguments)) if names else 0

    def _letter(self, id: str, function: str, attempts: int) -> tuple[Argument, ...]:
        """The letter of an invocation that its workers do not survive, its reason, a reply."""
        event: Any = self._redis.hget(keys.invocation(id), "event")
        fault = FunctionFault(
            "Runtime.WorkerLost", f"the worker has died {WORKERS_LOST} times while it ran this"
        )
        letter = DeadLetter(id, function, event or b"", fault, attempts)
        return letter.render(), letter.reason, fault_reply(fault)

    def _dead(self, members: str, alive: Any) -> list[str]:
        ids = [each.decode() for each in self._redis.smembers(members)]  # type: ignore[union-attr]
        if not ids:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for id in ids:
            pipeline.exists(alive(id))
        return [id for id, lives in zip(ids, pipeline.execute(), strict=True) if not lives]

    def _now(self) -> int:
        """Milliseconds by Redis's clock, the only one that all hosts share."""
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000
