"""The Celery app that the worker and Flower share.

Settings and their reasons: late acknowledgement without Celery's own retries, since the ledger
counts attempts; no prefetch, so that the pool's limit is the gate; one visibility timeout for every
app on this broker.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery
from kombu.entity import Queue

from broker import keys
from broker.settings import TRANSPORT_OPTIONS, BrokerSettings

_DEPLOYMENTS: Final = keys.queue(keys.DEPLOY)

_SETTINGS: Final[dict[str, Any]] = {
    "broker_transport_options": TRANSPORT_OPTIONS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_queues": [Queue(_DEPLOYMENTS, exchange="", routing_key=_DEPLOYMENTS)],
    "task_default_queue": _DEPLOYMENTS,
    "worker_pool": "workers.pool:EnvironmentPool",
    "worker_consumer": "workers.consumer:FunctionConsumer",
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 0,
    "worker_enable_prefetch_count_reduction": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_send_task_events": True,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}


def make_app(settings: BrokerSettings) -> Celery:
    """The app that worker and Flower share: the same broker, by the same transport options."""
    app = Celery("bucketwheel", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(_SETTINGS)
    return app
