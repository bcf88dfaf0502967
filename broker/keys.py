"""The key space in Redis: every key is made here. Database 0, one instance of its own.

| key (behind `bucketwheel:`)   | type   | meaning                                     | written by          |
|-------------------------------|--------|---------------------------------------------|---------------------|
| `events`                      | list   | notifications, as the object store sent them| object store        |
| `intakes`                     | set    | ids of intakes that may hold events         | intake              |
| `intake:<id>:alive`           | string | expires when the intake is dead             | intake              |
| `intake:<id>:inflight`        | list   | notifications it has taken, not published   | intake              |
| `seen:<slot>`                 | set    | invocation ids published in that time slot  | intake, calls       |
| `functions`                   | hash   | name -> version of every deployed function  | intake, deployment  |
| `functions:generation`        | string | counts changes of functions                 | deployment          |
| `invocation:<id>`             | hash   | ledger entry of an unfinished invocation:   | intake, calls,      |
|                               |        | function event label state attempt failures | worker, reaper      |
|                               |        | worker reply throttled lost (workers that   |                     |
|                               |        | died of it)                                 |                     |
| `queued:<function>`           | zset   | id -> ms since when its message is queued   | all of these        |
| `queues`                      | set    | functions that ever had work queued         | intake, calls       |
| `delayed`                     | zset   | id -> ms when its retry is due              | worker              |
| `workers`                     | set    | ids (`name:start`) of workers that may hold | worker              |
|                               |        | invocations                                 |                     |
| `worker:<id>:alive`           | string | expires when the worker is dead             | worker              |
| `running:<worker>`            | hash   | id -> function, what the worker holds       | worker, reaper      |
| `concurrent:<function>`       | set    | ids of its invocations that workers hold    | worker, reaper      |
| `fleets:<worker>`             | hash   | function -> its environments there (JSON);  | worker              |
|                               |        | empty name: the host; expires               |                     |
| `wake:<worker>`               | list   | ends the worker's wait for messages; expires| worker              |
| `reply:<id>`                  | list   | the response somebody waits for; expires    | worker              |
| `dead`                        | hash   | id -> dead letter (JSON)                    | worker, intake      |
| `dead:index`                  | zset   | id -> ms when it was given up               | worker, intake      |
| `counters:<function>`         | hash   | succeeded failed retried dead cold_starts   | worker, intake      |
|                               |        | throttled last_error                        |                     |
| `logs:<function>`             | stream | what its invocations logged, capped         | worker, intake      |
| `deployment:<id>`             | stream | steps of one deployment; expires            | worker              |
| `deploying`                   | string | held by the one that registers functions    | worker              |

Celery adds its own: the list `function.<name>` (one queue per function), `unacked`,
`unacked_index`, `unacked_mutex` and `_kombu.binding.*`.

States of a ledger entry: `queued` (its message is in the function's queue), `running` (a worker
holds it), `delayed` (a retry is due later). No entry: finished, or given up and in `dead`.
"""

from __future__ import annotations

PREFIX = "bucketwheel:"
EVENTS = PREFIX + "events"
INTAKES = PREFIX + "intakes"
FUNCTIONS = PREFIX + "functions"
GENERATION = PREFIX + "functions:generation"
QUEUES = PREFIX + "queues"
DEPLOYING = PREFIX + "deploying"
DELAYED = PREFIX + "delayed"
WORKERS = PREFIX + "workers"
DEAD = PREFIX + "dead"
DEAD_INDEX = PREFIX + "dead:index"

#: What deploys uploads, what keeps broken notifications, what keeps broken messages: functions of
#: the platform's own, since no user's has a colon.
DEPLOY = "bucketwheel:deploy"
INTAKE = "bucketwheel:intake"
WORKER = "bucketwheel:worker"


def queue(function: str) -> str:
    """Celery queue of a function; its name is also the Redis list's."""
    return f"function.{function}"


def intake_alive(intake: str) -> str:
    """String, expires when the intake is dead."""
    return f"{PREFIX}intake:{intake}:alive"


def inflight(intake: str) -> str:
    """List of the notifications an intake has taken and not yet published."""
    return f"{PREFIX}intake:{intake}:inflight"


def seen(slot: int) -> str:
    """Set of invocation ids published in a time slot."""
    return f"{PREFIX}seen:{slot}"


def invocation(id: str) -> str:
    """Hash, the ledger entry of an unfinished invocation."""
    return f"{PREFIX}invocation:{id}"


def queued(function: str) -> str:
    """Sorted set of a function's waiting invocations."""
    return f"{PREFIX}queued:{function}"


def worker_alive(worker: str) -> str:
    """String, expires when the worker is dead."""
    return f"{PREFIX}worker:{worker}:alive"


def running(worker: str) -> str:
    """Hash of the invocations a worker holds, each with its function."""
    return f"{PREFIX}running:{worker}"


def concurrent(function: str) -> str:
    """Set of a function's invocations that workers hold, on all hosts."""
    return f"{PREFIX}concurrent:{function}"


def fleets(worker: str) -> str:
    """Hash of what a worker tells about its environments."""
    return f"{PREFIX}fleets:{worker}"


def wake(worker: str) -> str:
    """List whose item ends a worker's wait for messages."""
    return f"{PREFIX}wake:{worker}"


def reply(id: str) -> str:
    """List that gets the response of an invocation somebody waits for."""
    return f"{PREFIX}reply:{id}"


def counters(function: str) -> str:
    """Hash of a function's counters."""
    return f"{PREFIX}counters:{function}"


def logs(function: str) -> str:
    """Stream of what a function's invocations logged."""
    return f"{PREFIX}logs:{function}"


def deployment(id: str) -> str:
    """Stream of the steps of one deployment."""
    return f"{PREFIX}deployment:{id}"
