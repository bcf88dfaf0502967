"""The key space in Redis: every key is made here. Database 0, one instance of its own.

| key (behind `bucketwheel:`)   | type   | meaning                                     | written by          |
|-------------------------------|--------|---------------------------------------------|---------------------|
| `events`                      | list   | notifications, as the object store sent them| object store        |
| `intakes`                     | set    | ids (`host:start`) of intakes that may hold | intake              |
|                               |        | events                                      |                     |
| `intake:<id>:alive`           | string | expires when the intake is dead             | intake              |
| `intake:<id>:inflight`        | list   | notifications it has taken, not published   | intake              |
| `events:taken`                | string | counts notifications that intakes published | intake              |
| `seen:<slot>`                 | set    | invocation ids published in that time slot; | intake, calls,      |
|                               |        | the watch removes it, or it expires (7 days)| watch               |
| `watch`                       | hash   | the watermark, what the last look saw, the  | watch               |
|                               |        | last sweep: broker/watch_state.py           |                     |
| `watch:lease`                 | string | held by the intake that watches; expires    | watch               |
| `replay:<id>`                 | hash   | what a replay has come to; expires          | replay              |
| `functions`                   | hash   | name -> version of every deployed function  | intake, deployment  |
| `functions:generation`        | string | counts changes of functions                 | deployment          |
| `invocation:<id>`             | hash   | ledger entry of an unfinished invocation:   | intake, calls,      |
|                               |        | function event label state attempt failures | worker, reaper,     |
|                               |        | worker reply throttled lost (workers that   | dead letters        |
|                               |        | died of it) at (ms when it entered)         |                     |
| `queued:<function>`           | zset   | id -> ms since when its message is queued   | all of these        |
| `queues`                      | set    | functions that ever had work queued         | intake, calls       |
| `delayed`                     | zset   | id -> ms when its retry is due              | worker              |
| `gathering`                   | zset   | id of a batch -> ms when it is full, or its | intake, reaper      |
|                               |        | window is over                              |                     |
| `gathering:<function>`        | string | id of the batch that takes its records      | intake, reaper      |
| `batch:<id>`                  | list   | ids of a batch's records, at most 10,000;   | intake, worker,     |
|                               |        | shrinks as these are settled                | reaper              |
| `batch:<id>:failed`           | set    | those that the function has named           | worker              |
| `settling`                    | set    | batches that have ended, and whose records  | worker, reaper      |
|                               |        | are being settled                           |                     |
| `schedules`                   | hash   | `function expression` -> ms when it was due | intake              |
|                               |        | last; only of functions that are deployed   |                     |
| `workers`                     | set    | ids (`name:start`) of workers that may hold | worker              |
|                               |        | invocations                                 |                     |
| `worker:<id>:alive`           | string | expires when the worker is dead             | worker              |
| `reaping`                     | hash   | last, since: ms of the latest round of any  | intake              |
|                               |        | reaper, and of the first after an absence   |                     |
| `running:<worker>`            | hash   | id -> function, what the worker holds       | worker, reaper      |
| `concurrent:<function>`       | set    | ids of its invocations that workers hold    | worker, reaper      |
| `fleets:<worker>`             | hash   | function -> its environments there (JSON);  | worker              |
|                               |        | empty name: the host; expires               |                     |
| `wake:<worker>`               | list   | ends the worker's wait for messages; expires| worker              |
| `reply:<id>`                  | list   | the response somebody waits for; expires    | worker              |
| `outboxes`                    | set    | functions that ever had records to deliver  | worker, reaper      |
| `outbox:<function>`           | zset   | id -> ms when its record is to be delivered | worker, reaper,     |
|                               |        | (again); each leaves within hours           | deliverer           |
| `outgoing:<id>`               | hash   | the record of an invocation's end: function | worker, reaper,     |
|                               |        | destination record tries at chain           | deliverer           |
| `dead`                        | hash   | id -> dead letter (JSON)                    | worker, intake      |
| `dead:index`                  | zset   | id -> ms when it was given up               | worker, intake      |
| `counters:<function>`         | hash   | succeeded failed retried dead cold_starts   | worker, intake,     |
|                               |        | throttled destination_failures last_error   | deliverer           |
|                               |        | filtered superseded recursive_dropped       |                     |
| `lineage:<environment>`       | list   | its last invocations (at most 8): ms, chain | worker              |
|                               |        | that a function has begun; expires          |                     |
| `lately:<function>`           | hash   | generation (at most 16) -> ms and chain of  | worker              |
|                               |        | the latest that began; expires              |                     |
| `order:<function>:<key>`      | hash   | handled (its newest write), holder (id that | worker              |
|                               |        | runs, or ran last); expires after 6 hours   |                     |
| `logs:<function>`             | stream | what its invocations logged, capped         | worker, intake      |
| `deployment:<id>`             | stream | steps of one deployment; expires            | worker              |
| `deploying`                   | string | held by the one that registers functions    | worker              |

Celery adds its own: the list `function.<name>` (one queue per function), `unacked`,
`unacked_index`, `unacked_mutex` and `_kombu.binding.*`.

States of a ledger entry: `queued` (its message is in the function's queue), `running` (a worker
holds it), `delayed` (a retry is due later). No entry: finished, or given up and in `dead`.
A batch is an entry too, with no event of its own, but `bytes`; it begins as `gathering` and ends
as `settling` (with outcome fault retries delay). Its records are `batched` until it has ended.
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
GATHERING = PREFIX + "gathering"
SETTLING = PREFIX + "settling"
SCHEDULES = PREFIX + "schedules"
WORKERS = PREFIX + "workers"
OUTBOXES = PREFIX + "outboxes"
DEAD = PREFIX + "dead"
DEAD_INDEX = PREFIX + "dead:index"
WATCH = PREFIX + "watch"
WATCH_LEASE = PREFIX + "watch:lease"

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


def replay(id: str) -> str:
    """Hash of what a replay is for, and the last key of each part that it has come to."""
    return f"{PREFIX}replay:{id}"


def seen(slot: int) -> str:
    """Set of invocation ids published in a time slot."""
    return f"{PREFIX}seen:{slot}"


def invocation(id: str) -> str:
    """Hash, the ledger entry of an unfinished invocation."""
    return f"{PREFIX}invocation:{id}"


def queued(function: str) -> str:
    """Sorted set of a function's waiting invocations."""
    return f"{PREFIX}queued:{function}"


def gathering(function: str) -> str:
    """String, id of the batch that takes a function's records."""
    return f"{PREFIX}gathering:{function}"


def batch(id: str) -> str:
    """List of the ids of a batch's records."""
    return f"{PREFIX}batch:{id}"


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


def outbox(function: str) -> str:
    """Sorted set of the function's invocations whose records are to be delivered."""
    return f"{PREFIX}outbox:{function}"


def outgoing(id: str) -> str:
    """Hash, the record of an invocation's end until it is delivered."""
    return f"{PREFIX}outgoing:{id}"


def lineage(environment: str) -> str:
    """List of the chains that an environment's invocations ended, the newest first."""
    return f"{PREFIX}lineage:{environment}"


def lately(function: str) -> str:
    """Hash of the chains that a function has lately begun, by their generation."""
    return f"{PREFIX}lately:{function}"


def counters(function: str) -> str:
    """Hash of a function's counters."""
    return f"{PREFIX}counters:{function}"


def logs(function: str) -> str:
    """Stream of what a function's invocations logged."""
    return f"{PREFIX}logs:{function}"


def deployment(id: str) -> str:
    """Stream of the steps of one deployment."""
    return f"{PREFIX}deployment:{id}"
