"""Settings of the broker: where Redis is, and how Celery's transport must treat it."""

from __future__ import annotations

from typing import Final

from pydantic import Field, SecretStr

from storage.settings import Settings


class BrokerSettings(Settings):
    """Where Redis is and how work is kept there."""

    #: `redis://[user:password@]host:port/0`; the store can push its events to database 0 only.
    redis_url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6390/0"))
    #: Seconds an event is remembered after its take-over, so that a replay of it is dropped.
    duplicate_window: int = Field(default=600, ge=10, le=86_400)
    #: Seconds before the first retry of a failed invocation; the second waits twice as long.
    retry_delay: float = Field(default=60.0, gt=0)
    #: Seconds before a record is sent again to a destination that did not take it; doubled each
    #: time, up to five minutes.
    destination_delay: float = Field(default=1.0, gt=0)
    #: How often it is sent, before it is kept as a dead letter.
    destination_tries: int = Field(default=12, ge=1, le=100)
    #: Events an intake takes at once.
    event_batch: int = Field(default=200, ge=1, le=5_000)


#: Seconds after which a silent worker or intake is taken for dead; renewed each second.
LIVENESS: Final = 5.0

#: Every app on this broker must use the same values: any consumer restores unacknowledged
#: messages by its own clock and its own visibility timeout. 15 s is safe only beside the
#: worker's lease thread, which re-scores what it holds each second.
TRANSPORT_OPTIONS: Final[dict[str, object]] = {
    "visibility_timeout": 15,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
    "priority_steps": [0],  # one BRPOP key per queue instead of four
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
