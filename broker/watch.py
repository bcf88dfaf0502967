"""The watch: when there is a sign that events were lost, it sweeps; else nothing is ever listed.

It runs in a thread of each intake; one at a time watches, by a lease. While there is no sign
(broker/signs.py), the watermark goes on: what was written before it has been handed over. A sign
has everything swept that was written since then; then the watermark goes on.

When Redis has lost its data, work in flight is lost with it, and so is the memory of what was
handled: the sweep then looks back to where nothing was left to do, and what was handled since then
is run again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis import Redis
from redis.exceptions import LockError

from broker import keys
from broker.connection import UNAVAILABLE, connect
from broker.late_events import Functions, Progress
from broker.memory import Memory
from broker.settings import BrokerSettings
from broker.signs import Look, Looking, has_restarted, seen, signs
from broker.sweep import Scope, Sweep
from broker.watch_state import WatchState
from storage.errors import StorageError
from storage.settings import StorageSettings
from storage.watermark import StoredWatermark

log = logging.getLogger("bucketwheel.watch")

#: Seconds between looks.
LOOK: Final = 3.0
#: Seconds for which a silent watcher keeps the others from watching.
LEASE: Final = 8.0
#: Seconds after its start until the store tells all that is written.
SETTLING: Final = 10.0
#: How far the watermark stays behind: an object's time is taken before it is stored and told.
MARGIN: Final = timedelta(seconds=60)
#: How far it moves before it is saved in the store.
SAVING: Final = timedelta(seconds=60)
_NEVER: Final = datetime.fromtimestamp(0, UTC)


class Watch:
    """Looks and sweeps in a thread of its own; start, run_once, stop."""

    def __init__(
        self,
        settings: BrokerSettings,
        storage: StorageSettings,
        functions: Functions,
        mended: Iterable[str] = (),
    ) -> None:
        """`mended` are buckets whose rules were found missing when the process began."""
        self._redis: Redis = connect(settings)
        self._looking = Looking(self._redis, storage, functions)
        self._stored = StoredWatermark(storage)
        self._memory = Memory(self._redis, settings)
        self._sweep = Sweep(self._redis, settings, storage, functions)
        self._lease = self._redis.lock(
            keys.WATCH_LEASE, timeout=LEASE, blocking=False, thread_local=False
        )
        #: Signs that no look has: they must reach a look that works.
        self._noted = [f"bucket {bucket} did not tell its writes" for bucket in mended]
        self._complaint = ""
        #: When a start of the store was noticed; which start has been swept once.
        self._start_noticed = -SETTLING
        self._swept_early: float | None = None
        #: How many notifications had come by an earlier look, and the store's time then.
        self._mark: tuple[int, datetime] | None = None
        #: How much had lately been handled, when that changed, and what was saved.
        self._recent = -1
        self._active = self._saved = _NEVER
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Look every three seconds from now on, whatever fails."""
        self._thread.start()

    def stop(self) -> None:
        """End after the page in hand; what it leaves is swept by the next who watches."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=LOOK)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.run_once()
            except UNAVAILABLE as error:
                self._noted = [*{*self._noted, "Redis did not answer"}]
                self._complain(f"Redis does not answer: {error}")
            except StorageError as error:
                self._complain(str(error))
            except Exception:  # a watch that has ended would never be missed
                log.exception("a look failed")
            self._stopping.wait(LOOK)
        self._give_up_lease()

    def run_once(self) -> None:
        """One look, and the sweep that it leads to.

        Raises:
            StorageError: the store cannot be looked at, or not swept: that is done again.
            redis.exceptions.RedisError: the same of Redis.
        """
        if not self._leads():
            return
        look = self._looking.look()
        state = WatchState.read(self._redis)
        if state is None:
            state = self._first(look)
        else:
            if has_restarted(state, look):
                self._start_noticed = time.monotonic()
            for sign in [*self._noted, *signs(state, look, self._looking.mended())]:
                log.warning("a sweep is due: %s", sign)
                state = state.suspect(sign)
            state = seen(state, look, rests=self._looking.rests(look))
        state.save(self._redis)
        self._noted, self._complaint = [], ""
        if state.pending:
            self._follow(state, look)
        else:
            self._go_on(state, look)

    def _complain(self, what: str) -> None:
        """Say once what keeps us from looking."""
        if what != self._complaint:
            log.warning("nothing can be looked at: %s", what)
        self._complaint = what

    def _first(self, look: Look) -> WatchState:
        """Redis knows nothing: it has lost its data, or the system is new."""
        settled, now = self._stored.load(), look.store.now
        if settled is None:
            log.warning("nothing is known of the past: the watermark begins at %s", now)
            self._stored.save(now)
        else:
            log.warning("a sweep is due: Redis has lost its data")
        return WatchState(
            watermark=settled or now,
            settled=settled or now,
            remembered=now,
            started=look.store.started,
            lost=look.store.lost,
            taken=look.store.taken,
            came=look.came,
            redis=look.redis,
            pending="" if settled is None else "Redis has lost its data",
        )

    def _follow(self, state: WatchState, look: Look) -> None:
        """Sweep; a store that has just begun is swept at once, and again when it has settled."""
        known_for = min(look.store.uptime, time.monotonic() - self._start_noticed)
        is_early = known_for < SETTLING
        is_second = self._swept_early == look.store.started
        if is_early and is_second:
            return
        done = self._run_sweep(state)
        if done is None:
            return
        log.warning("swept %d keys: %d invocations had been lost", done.seen, done.entered)
        update: dict[str, Any] = {
            "swept_at": datetime.now(UTC),
            "why": state.pending,
            "seen": done.seen,
            "found": done.entered + (state.found if is_second else 0),
        }
        if not is_early:
            update |= {"pending": "", "watermark": max(state.watermark, look.store.now - MARGIN)}
        state.model_copy(update=update).save(self._redis)
        self._swept_early = look.store.started if is_early else None

    def _run_sweep(self, state: WatchState) -> Progress | None:
        """Where the sweep has come to at its end; None when it was cut short."""
        done, renewed = Progress(), time.monotonic()
        for step in self._sweep.run(Scope(state.watermark)):
            done = step
            if self._stopping.is_set():
                return None
            if time.monotonic() - renewed > LEASE / 3:
                renewed = time.monotonic()
                if not self._leads():
                    return None
        return done

    def _go_on(self, state: WatchState, look: Look) -> None:
        """Move the watermark on, save it now and then, and forget what no sweep will ask for."""
        watermark = max(state.watermark, self._published(look))
        settled = state.settled
        if look.is_at_rest:
            settled = max(settled, look.store.now - MARGIN)
        remembered = self._memory.forget(state.remembered, watermark)
        update = {"watermark": watermark, "settled": settled, "remembered": remembered}
        state.model_copy(update=update).save(self._redis)
        self._save(settled, look)

    def _published(self, look: Look) -> datetime:
        """A moment before which all that was told has been published."""
        published = _NEVER
        if self._mark is not None and look.published >= self._mark[0]:
            published = self._mark[1] - MARGIN
            self._mark = None
        if self._mark is None:
            self._mark = look.came, look.store.now
        return published

    def _save(self, settled: datetime, look: Look) -> None:
        """Save it in the store once a minute, until nothing has been handled since."""
        recent = self._memory.recent()
        if recent != self._recent:
            self._recent, self._active = recent, look.store.now
        if self._saved <= self._active and settled - self._saved >= SAVING:
            self._stored.save(settled)
            self._saved = settled

    def _leads(self) -> bool:
        """Whether it is us who watch, for a while from now."""
        try:
            if self._lease.owned():
                return bool(self._lease.reacquire())
            return bool(self._lease.acquire())
        except LockError:
            return False

    def _give_up_lease(self) -> None:
        try:
            self._lease.release()
        except (LockError, *UNAVAILABLE):
            pass
