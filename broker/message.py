"""A Celery message in its written form: what kombu would push to a Redis list (protocol 2).

https://docs.celeryq.dev/en/stable/internals/protocol.html. Written by hand because the push must
sit in one transaction with the ledger, and costs a twentieth of `apply_async`; a contract test
compares it with kombu's own.
"""

from __future__ import annotations

import os
from typing import Any

import orjson

from broker import keys

#: Header that names the ledger entries a message delivers.
INVOCATIONS = "invocations"

_BODY = '[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def render(function: str, ids: list[str], label: str) -> bytes:
    """The message that delivers these invocations of one function.

    The event stays in the ledger; `label` (the object's name) is what Flower shows as arguments.
    """
    task_id = ids[0]
    headers: dict[str, Any] = {
        "lang": "py",
        "task": function,
        "id": task_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": task_id,
        "parent_id": None,
        "argsrepr": label,
        "kwargsrepr": "{}",
        "origin": "bucketwheel",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
        INVOCATIONS: ids,
    }
    properties: dict[str, Any] = {
        "correlation_id": task_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": keys.queue(function)},
        "priority": 0,
        "delivery_tag": os.urandom(16).hex(),
    }
    return orjson.dumps(
        {
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


def delivered(message: bytes) -> list[str]:
    """The invocations a message delivers; none for a message of somebody else."""
    try:
        headers = orjson.loads(message)["headers"]
        return [str(id) for id in headers.get(INVOCATIONS) or [headers["id"]]]
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return []
