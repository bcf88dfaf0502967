"""The ledger: the truth about every invocation that is not finished."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import NoScriptError

from broker import message
from broker.dead_letter import DeadLetter, as_json
from broker.invocation import FunctionFault, Invocation, Outcome, Throttled
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


#: What comes of a claim: the invocation to run; or `Throttled`, and it is in line again; or None
#: when it has finished or a living worker holds it.
Begun = Invocation | Throttled | None


def invocation_id(identity: str, function: str) -> str:
    """The id of an event's delivery to a function: the same whenever the event is replayed."""
    digest = blake2b(f"{identity}\0{function}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=5))


class Ledger:
    """A worker's side of the ledger: claims and closings, many in one round trip."""

    def __init__(self, redis: Redis, worker: str, settings: BrokerSettings) -> None:
        self._redis = redis
        self._worker = worker
        self._settings = settings
        self._begin, self._finish = Script("begin"), Script("finish")

    def exchange(
        self, closings: Sequence[Closing], claims: Sequence[Claim]
    ) -> tuple[list[bool], list[Begun]]:
        """Close attempts, then claim invocations, in one round trip.

        Returns whether each closing was of the current attempt, and what came of each claim.
        """
        calls = [(self._finish, self._closing_arguments(closings), bool(closings))]
        calls.append((self._begin, self._claim_arguments(claims), bool(claims)))
        answers = iter(self._run([(script, args) for script, args, any_ in calls if any_]))
        closed = [bool(each) for each in next(answers)] if closings else []
        begun = next(answers) if claims else []
        return closed, [_invocation(*pair) for pair in zip(claims, begun, strict=True)]

    def _run(self, calls: list[tuple[Script, list[Argument]]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for script, arguments in calls:
            pipeline.evalsha(script.sha, 0, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        for at, (script, arguments) in enumerate(calls):
            if isinstance(answers[at], NoScriptError):
                answers[at] = script.run(self._redis, *arguments)
            if isinstance(answers[at], Exception):
                raise answers[at]
        return answers

    def _claim_arguments(self, claims: Iterable[Claim]) -> list[Argument]:
        arguments: list[Argument] = [self._worker, self._settings.duplicate_window]
        for claim in claims:
            arguments += (claim.id, claim.function, claim.event or "")
            arguments += ("", "") if claim.reserved is None else (claim.reserved, _again(claim))
        return arguments

    def _closing_arguments(self, closings: Iterable[Closing]) -> list[Argument]:
        arguments: list[Argument] = [self._worker]
        for closing in closings:
            arguments += self._one_closing(closing)
        return arguments

    def _one_closing(self, closing: Closing) -> list[Argument]:
        outcome, invocation = closing.outcome, closing.outcome.invocation
        log = entries(outcome.log)
        letter = _letter(outcome, outcome.fault) if outcome.fault else None
        return [
            invocation.id,
            invocation.function,
            invocation.attempt,
            "returned" if closing.returned else outcome.status,
            closing.retries,
            0 if closing.returned else self._delay(invocation.failures),
            _counted(closing),
            reply(outcome) if invocation.reply else "",
            letter.render() if letter else "",
            letter.reason if letter else "",
            len(log),
            *log,
        ]

    def _delay(self, failures: int) -> int:
        """Milliseconds until the next retry: AWS waits 1 minute, then 2."""
        return int(self._settings.retry_delay * 1000 * 2**failures)


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
    event, attempt, failures, reply = begun
    return Invocation(claim.id, claim.function, event, attempt, failures, reply == b"1")


def reply(outcome: Outcome) -> bytes:
    """What the waiting caller gets: `{"response": …}` or `{"fault": …}`."""
    if outcome.fault is None:
        return b'{"response":' + (outcome.response or b"null") + b"}"
    return fault_reply(outcome.fault)


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
        attempts=invocation.attempt,
        version=outcome.version,
    )
