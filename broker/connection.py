"""The connection to Redis."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from broker.settings import BrokerSettings

#: What a lost or silent Redis raises; loops wait and go on, commands tell the user.
UNAVAILABLE = (ConnectionError, TimeoutError, OSError)


def connect(settings: BrokerSettings) -> Redis:
    """A client whose calls end within seconds when Redis does not answer.

    Replies are bytes. A broken connection is opened anew once per call; whoever loops over calls
    waits between them himself.
    """
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=5,
        socket_connect_timeout=2,
        socket_keepalive=True,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
    )
