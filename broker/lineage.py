"""Lineage: the chain of invocations that an event comes from, and the end of those without end.

What a function writes may run a function again. Such an invocation is one generation further than
the one that wrote. As AWS does, a chain is ended after about 16:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html

The writer is known by its environment, which AWS's SDKs name in their user agent: the worker tells
whose invocation it has, before the handler runs. Only generations above 0 are told: an environment
that nothing is known of has an invocation that no function has caused. Where the client names no
environment, the writer is taken for the furthest that its function has lately begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from redis import Redis

from broker import keys
from broker.clock import as_milliseconds
from broker.dead_letter import DeadLetter
from broker.invocation import FunctionFault, Invocation
from broker.publication import NewInvocation, Publication
from broker.scripts import Argument, Script
from broker.store_clock import StoreClock
from storage.configuration import FunctionConfiguration

if TYPE_CHECKING:
    from broker.writer import Writer

#: Invocations of one chain, and steps that are kept of it.
MOST: Final = 16
#: Steps that a message names; the trace has them all.
_NAMED: Final = 3
#: Seconds for which an environment's lineage is kept: longer than any invocation, and than events
#: wait for an intake.
_KEPT: Final = 3_600
#: Invocations of an environment that are told apart, should an intake be late.
_KEPT_TRACES: Final = 8
#: Milliseconds between the end of an invocation and the moment its writes are looked at.
_MARGIN: Final = 10_000
#: Seconds an invocation may take at most.
_LONGEST: Final = 900

#: The invocations before one, the last of them last: `function id`.
Chain = tuple[str, ...]
Functions = Mapping[str, FunctionConfiguration]


@dataclass(frozen=True, slots=True)
class Trace:
    """Whose invocation an environment has; what it writes comes from this chain."""

    environment: str
    chain: Chain


def following(invocation: Invocation) -> Chain:
    """The chain of what an invocation causes."""
    return extended(invocation.chain, invocation.function, invocation.id)


def extended(chain: Chain, function: str, id: str) -> Chain:
    """A chain with one invocation more."""
    return (*chain, f"{function} {id}")[-MOST:]


def trace(invocation: Invocation, environment: str) -> Trace:
    """What is to be told of an environment that gets this invocation."""
    return Trace(environment, following(invocation) if invocation.chain else ())


def fields(chain: Chain) -> dict[str, str]:
    """A chain as fields of the ledger entry."""
    return {"generation": str(len(chain)), "chain": "\n".join(chain)} if chain else {}


def is_endless(chain: Chain, function: FunctionConfiguration | None) -> bool:
    """Whether this function must not be run at the end of that chain."""
    return len(chain) >= MOST and (function is None or function.recursive_loop == "Terminate")


def stopped(chain: Chain) -> FunctionFault:
    """Why an invocation at the end of a chain is not run; its trace is the chain."""
    return FunctionFault(
        "RecursiveInvocationException",
        f"the function was stopped in a loop after {len(chain)} invocations, the last of them"
        f" {', '.join(chain[-_NAMED:])}; if that is meant, set recursive_loop to Allow",
        chain,
    )


class Lineage:
    """What is known of environments, and of what functions have lately begun."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._trace = Script("trace")
        self._clock = StoreClock()

    def tell(self, traces: Iterable[Trace]) -> None:
        """Remember whose invocations environments have from now on, in one round trip."""
        arguments: list[Argument] = [_KEPT, _KEPT_TRACES]
        for each in traces:
            arguments += (each.environment, "\n".join(each.chain))
        self._trace.run(self._redis, *arguments)

    def settle(self, publication: Publication, functions: Functions) -> None:
        """Give what functions have written its chain, and end what goes on for too long.

        One round trip, and none where no function has written.
        """
        writers = {each.writer for each in publication.invocations if each.writer is not None}
        if not writers:
            return
        chains = self._chains(list(writers), functions)
        going_on: list[NewInvocation] = []
        for each in publication.invocations:
            chain = chains[each.writer] if each.writer else ()
            if is_endless(chain, functions.get(each.function)):
                _stop(publication, each, chain)
            else:
                going_on.append(_with(each, chain))
        publication.invocations = going_on

    def _chains(self, writers: list[Writer], functions: Functions) -> dict[Writer, Chain]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for each in writers:
            if each.environment:
                pipeline.lrange(keys.lineage(each.environment), 0, -1)
            else:
                pipeline.hvals(keys.lately(each.function))
        told, *answers = pipeline.execute()
        now = as_milliseconds(told)
        self._clock.see([each.moment for each in writers if each.moment is not None], now)
        found: dict[Writer, Chain] = {}
        for each, chains in zip(writers, map(_read, answers), strict=True):
            if each.environment:
                moment = now if each.moment is None else self._clock.by_redis(each.moment)
                found[each] = _of_environment(each, chains, moment)
            else:
                since = now - _longest(functions.get(each.function)) - _MARGIN
                found[each] = _of_function(each.function, chains, since)
        return found


def _read(told: list[bytes]) -> list[tuple[int, Chain]]:
    """Moments and chains, as the scripts write them."""
    found = []
    for text in told:
        moment, _, chain = text.decode().partition("\n")
        found.append((int(moment), tuple(chain.split("\n"))[-MOST:] if chain else ()))
    return found


def _of_environment(writer: Writer, told: list[tuple[int, Chain]], moment: int) -> Chain:
    """The chain that the environment's invocation had at that moment; the newest is first."""
    chain = next((chain for since, chain in told if since <= moment), ())
    if len(told) == _KEPT_TRACES and told[-1][0] > moment:
        chain = told[-1][1]
    return chain or (f"{writer.function} in environment {writer.environment}",)


def _of_function(function: str, told: list[tuple[int, Chain]], since: int) -> Chain:
    """The longest of the chains that have begun since then."""
    chains: list[Chain] = [chain for moment, chain in told if moment >= since]
    return max(chains, key=len, default=(function,))


def _longest(function: FunctionConfiguration | None) -> int:
    """Milliseconds that an invocation of it may take."""
    return 1000 * (function.timeout if function else _LONGEST)


def _with(invocation: NewInvocation, chain: Chain) -> NewInvocation:
    if not chain:
        return invocation
    return replace(invocation, fields={**invocation.fields, **fields(chain)})


def _stop(publication: Publication, invocation: NewInvocation, chain: Chain) -> None:
    letter = DeadLetter(invocation.id, invocation.function, invocation.event, stopped(chain))
    publication.letters.append(letter)
    publication.counts[invocation.function, "recursive_dropped"] += 1
