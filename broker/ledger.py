"""The ledger: the truth about every invocation that is not finished."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import NoScriptError

from broker import batches, keys, message
from broker.dead_letter import DeadLetter, as_json, from_json
from broker.destination_record import DestinationRecord
from broker.event_age import EVENT_AGE_EXCEEDED
from broker.invocation import FunctionFault, Invocation, Outcome, Throttled
from broker.lineage import Lineage, Trace
from broker.logs import entries
from broker.scripts import Argument, Script
from broker.settings import BrokerSettings


@dataclass(frozen=True, slots=True)
class Claim:
    """An invocation that a message has delivered and a worker wants to run."""

    id: str
    function: str
    #: Given when the message came from a plain Celery client: the ledger does not know it yet.
    event: bytes | None = None
    #: The function's reserved concurrency.
    reserved: int | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """An attempt that ended, and what its function's configuration says about failures."""

    outcome: Outcome
    retries: int
    #: Put back in line, not run: its worker stops.
    returned: bool = False
    #: Whether it had to wait for a limit of this host.
    throttled: bool = False
    #: Records of a batch that have failed although the batch has succeeded.
    failed: tuple[str, ...] = ()
    #: Where the record of its end goes, unless somebody waits for the response.
    on_success: str | None = None
    on_failure: str | None = None

    @property
    def is_of_batch(self) -> bool:
        """Whether several records end with it."""
        return self.outcome.invocation.records > 0

    @property
    def destination(self) -> str:
        """Where the record goes of the invocation's end; empty: nowhere, or it is tried again."""
        outcome = self.outcome
        if self.returned or outcome.invocation.reply:
            return ""
        if outcome.fault is None:
            return self.on_success or ""
        is_last = outcome.invocation.failures >= self.retries
        return (self.on_failure or "") if is_last else ""


#: What comes of a claim: the invocation to run; or `Throttled`, and it is in line again; or None
#: when it has finished or a living worker holds it.
Begun = Invocation | Throttled | None


def invocation_id(identity: str, function: str) -> str:
    """The id of an event's delivery to a function: the same whenever the event is replayed."""
    digest = blake2b(f"{identity}\0{function}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=5))


class Ledger:
    """A worker's side of the ledger: claims and closings, many in one round trip."""

    def __init__(
        self, redis: Redis, worker: str, settings: BrokerSettings, region: str = "us-east-1"
    ) -> None:
        self._redis = redis
        self._worker = worker
        self._settings = settings
        self._region = region
        self._lineage = Lineage(redis)
        self._begin, self._finish = Script("begin", "order"), Script("finish", "order")
        self._forget = Script("forget")
        self._compose = Script("compose")
        self._finish_batch, self._settle = Script("finish_batch"), Script("settle")

    def trace(self, traces: Sequence[Trace]) -> None:
        """Tell whose invocations environments have."""
        self._lineage.tell(traces)

    def exchange(
        self, closings: Sequence[Closing], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Begun]]:
        """Close attempts, then claim invocations, in one round trip.

        Returns whether each closing was of the current attempt, and what came of each claim.
        """
        single = [each for each in closings if not each.is_of_batch]
        whole = [each for each in closings if each.is_of_batch]
        ended = [each.outcome.invocation.id for each in whole]
        answers = self._run(
            [
                (self._finish, self._closing_arguments(single) if single else []),
                (self._finish_batch, self._batch_arguments(whole) if whole else []),
                (self._settle, [batches.PIECE, *ended] if whole else []),
                (self._begin, self._claim_arguments(claims) if claims else []),
            ]
        )
        of_single, of_whole, begun = iter(answers[0]), iter(answers[1]), answers[3]
        closed = [bool(next(of_whole if each.is_of_batch else of_single)) for each in closings]
        taken = [_invocation(*pair) for pair in zip(claims, begun, strict=True)]
        return closed, [self._composed(each) for each in taken]

    def _composed(self, begun: Begun) -> Begun:
        """A batch gets its event, which is read in pieces: it may have 10,000 records."""
        if not isinstance(begun, Invocation) or not begun.records:
            return begun
        pieces = [
            self._compose.run(self._redis, begun.id, at, at + batches.PIECE - 1)
            for at in range(0, begun.records, batches.PIECE)
        ]
        return replace(begun, event=batches.event(pieces))

    def forget(self, known: Set[str]) -> int:
        """Give back what the ledger has this worker hold, and it knows nothing of.

        A claim's answer may be lost on its way, and a crash of Redis may undo an invocation's end.
        Nothing may be claimed meanwhile. Returns how many were given back.
        """
        held: Any = self._redis.hkeys(keys.running(self._worker))
        unknown = sorted({id.decode() for id in held}.difference(known))
        return int(self._forget.run(self._redis, self._worker, *unknown)) if unknown else 0

    def _run(self, calls: list[tuple[Script, list[Argument]]]) -> list[Any]:
        """Run scripts in their order; what has no arguments is not run, and answers nothing."""
        pipeline = self._redis.pipeline(transaction=False)
        for script, arguments in calls:
            if arguments:
                pipeline.evalsha(script.sha, 0, *arguments)
        found = iter(pipeline.execute(raise_on_error=False))
        return [self._answer(next(found), *call) if call[1] else [] for call in calls]

    def _answer(self, found: Any, script: Script, arguments: list[Argument]) -> Any:
        if isinstance(found, NoScriptError):
            found = script.run(self._redis, *arguments)
        if isinstance(found, Exception):
            raise found
        return found

    def _claim_arguments(self, claims: Iterable[Claim]) -> list[Argument]:
        arguments: list[Argument] = [self._worker, self._settings.duplicate_window]
        for claim in claims:
            arguments += (claim.id, claim.function, claim.event or "")
            arguments += ("", "") if claim.reserved is None else (claim.reserved, _again(claim))
        return arguments

    def _closing_arguments(self, closings: Iterable[Closing]) -> list[Argument]:
        arguments: list[Argument] = [self._worker]
        for each in closings:
            arguments += (*self._head(each), *self._one_end(each), *_logged(each))
        return arguments

    def _batch_arguments(self, closings: Iterable[Closing]) -> list[Argument]:
        arguments: list[Argument] = [self._worker]
        for each in closings:
            arguments += (*self._head(each), *_batch_end(each), *_logged(each))
        return arguments

    def _head(self, closing: Closing) -> tuple[Argument, ...]:
        """What both scripts are told first: which attempt has ended, and how it goes on."""
        outcome, invocation = closing.outcome, closing.outcome.invocation
        return (
            invocation.id,
            invocation.function,
            invocation.attempt,
            "returned" if closing.returned else outcome.status,
            closing.retries,
            0 if closing.returned else self._delay(invocation.failures),
            _counted(closing),
        )

    def _one_end(self, closing: Closing) -> tuple[Argument, ...]:
        outcome, destination = closing.outcome, closing.destination
        letter = _letter(outcome, outcome.fault) if outcome.fault else None
        return (
            reply(outcome) if outcome.invocation.reply else "",
            letter.render() if letter and not destination else "",
            letter.reason if letter else "",
            destination,
            _record(outcome, self._region) if destination else "",
        )

    def _delay(self, failures: int) -> int:
        """Milliseconds until the next retry: AWS waits 1 minute, then 2."""
        return int(self._settings.retry_delay * 1000 * 2**failures)


def _batch_end(closing: Closing) -> tuple[Argument, ...]:
    fault = closing.outcome.fault or (batches.NAMED if closing.failed else None)
    return (
        " ".join(closing.failed),
        fault_reply(fault) if fault else "",
        fault.reason if fault else "",
    )


def _logged(closing: Closing) -> list[Argument]:
    log = entries(closing.outcome.log)
    return [len(log), *log]


def _again(claim: Claim) -> bytes:
    """The message that puts an invocation back in line."""
    return message.render(claim.function, [claim.id], "")


def _counted(closing: Closing) -> str:
    cold = "cold_starts" if closing.outcome.init_ms is not None else ""
    return f"{cold} throttled" if closing.throttled else cold


def _invocation(claim: Claim, begun: list[Any]) -> Begun:
    if not begun:
        return None
    if begun == [b"throttled"]:
        return Throttled(claim.id, claim.function)
    event, attempt, failures, reply, age, records, chain = begun
    return Invocation(
        claim.id,
        claim.function,
        event,
        attempt,
        failures,
        reply == b"1",
        age / 1000,
        records,
        tuple(chain.decode().split("\n")) if chain else (),
    )


def reply(outcome: Outcome) -> bytes:
    """What the waiting caller gets: `{"response": …}` or `{"fault": …}`."""
    if outcome.fault is None:
        return b'{"response":' + (outcome.response or b"null") + b"}"
    return fault_reply(outcome.fault)


def fault_of(reply: bytes) -> FunctionFault:
    """The fault that such a reply tells of."""
    return from_json(orjson.loads(reply)["fault"])


def fault_reply(fault: FunctionFault) -> bytes:
    """What the waiting caller of an invocation that failed gets."""
    return orjson.dumps({"fault": as_json(fault)})


def _letter(outcome: Outcome, fault: FunctionFault) -> DeadLetter:
    invocation = outcome.invocation
    return DeadLetter(
        invocation.id,
        invocation.function,
        invocation.event,
        fault,
        attempts=_attempts(outcome),
        version=outcome.version,
    )


def _record(outcome: Outcome, region: str) -> bytes:
    invocation = outcome.invocation
    record = DestinationRecord(
        invocation.id,
        invocation.function,
        invocation.event,
        outcome.fault,
        outcome.response,
        _attempts(outcome),
        outcome.version,
        region,
    )
    return record.render()


def _attempts(outcome: Outcome) -> int:
    """Attempts that reached the function: what is too old is taken, and not run."""
    fault = outcome.fault
    is_too_old = fault is not None and fault.type == EVENT_AGE_EXCEEDED
    return outcome.invocation.attempt - is_too_old
