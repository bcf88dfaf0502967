"""The system on one machine: MinIO, Redis, intake, worker, Flower, until it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bucketwheel import servers
from bucketwheel.children import Child
from bucketwheel.instance import Credentials, Instance, Lock
from bucketwheel.settings import UpSettings
from broker import keys
from broker.connection import UNAVAILABLE, connect
from broker.settings import BrokerSettings
from storage.functions import FunctionStore
from storage.roles import PERSON, Roles
from storage.settings import PREFIX, StorageSettings

#: Seconds between looks at the children.
TICK: Final = 0.2
#: Seconds for everything to answer after its start.
START: Final = 60.0

Say = Callable[[str], None]


class Up:
    """Starts everything in order, looks after it, stops everything in reverse."""

    def __init__(self, settings: UpSettings, say: Say) -> None:
        self._settings = settings
        self._data = settings.data.absolute()
        self._say = say
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._hurry = False

    def start(self, ready: Callable[[Instance], None]) -> None:
        """Start all, tell `ready`, and run until `stop`, SIGTERM or SIGINT.

        Raises:
            InstanceError: a system runs on this folder already.
            StartError: a part could not be started; nothing is left running.
        """
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._data / "logs").mkdir(exist_ok=True)
        Lock(self._data).take()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            instance = self._start_all()
            ready(instance)
            while not self._stopping.wait(TICK):
                self.run_once(instance)
        finally:
            self._stop_all()

    def run_once(self, instance: Instance) -> None:
        """Look after every child once."""
        for child in self._children:
            said = child.run_once()
            if said:
                self._say(said)
        pids = {child.name: child.pid for child in self._children}
        if pids != instance.children:
            instance.children = pids
            instance.save(self._data)

    def stop(self) -> None:
        """End; stopping twice hurries."""
        self._hurry = self._stopping.is_set()
        self._stopping.set()

    def _on_signal(self, number: int, frame: object) -> None:
        if not self._stopping.is_set():
            self._say("stopping: running functions may end; once more to hurry")
        self.stop()

    def _start_all(self) -> Instance:
        instance = self._start_servers()
        self._prepare(instance)
        environment = {
            **os.environ,
            **instance.environment(),
            f"{PREFIX}DATA": str(self._data),
            f"{PREFIX}FLOWER_PORT": instance.flower_url.rsplit(":", 1)[1],
        }
        for name, grace in (("intake", 5.0), ("worker", 45.0), ("flower", 5.0)):
            command = [sys.executable, "-P", "-m", "bucketwheel", name]
            log = self._data / "logs" / f"{name}.log"
            self._begin(Child(name, command, environment, log, grace))
        self._wait_for_parts(instance)
        instance.children = {child.name: child.pid for child in self._children}
        instance.save(self._data)
        return instance

    def _start_servers(self) -> Instance:
        settings, credentials = self._settings, Credentials.of(self._data)
        redis_url, redis_port = self._start_redis(credentials)
        endpoint, console = self._start_store(credentials, redis_port)
        own = settings.s3_endpoint is None
        secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else ""
        flower = servers.port(settings.flower_port, f"{PREFIX}FLOWER_PORT")
        return Instance(
            pid=os.getpid(),
            s3_endpoint=endpoint,
            s3_access_key=credentials.s3_access_key if own else settings.s3_access_key or "",
            s3_secret_key=credentials.s3_secret_key if own else secret,
            s3_region=settings.s3_region,
            redis_url=redis_url,
            user_access_key=PERSON,
            user_secret_key=credentials.user_secret_key,
            console_url=console,
            flower_url=f"http://127.0.0.1:{flower}",
            children={},
        )

    def _start_redis(self, credentials: Credentials) -> tuple[str, int]:
        if self._settings.redis_url is not None:
            url = self._settings.redis_url.get_secret_value()
            servers.wait_for("Redis (BUCKETWHEEL_REDIS_URL)", servers.redis_answers(url), None, 10)
            return url, 0
        port = servers.port(self._settings.redis_port, f"{PREFIX}REDIS_PORT")
        child = self._begin(servers.redis(self._data, port, credentials))
        url = f"redis://:{credentials.redis_password}@127.0.0.1:{port}/0"
        servers.wait_for("Redis", servers.redis_answers(url), child, START)
        return url, port

    def _start_store(self, credentials: Credentials, redis_port: int) -> tuple[str, str | None]:
        settings = self._settings
        if settings.s3_endpoint is not None:
            endpoint = str(settings.s3_endpoint).rstrip("/")
            answers = servers.store_answers(endpoint)
            servers.wait_for("the store (BUCKETWHEEL_S3_ENDPOINT)", answers, None, 10)
            return endpoint, None
        s3 = servers.port(settings.s3_port, f"{PREFIX}S3_PORT")
        console = servers.port(settings.console_port, f"{PREFIX}CONSOLE_PORT")
        ports = (s3, console, redis_port)
        child = self._begin(servers.minio(self._data, settings, ports, credentials))
        endpoint = f"http://127.0.0.1:{s3}"
        servers.wait_for("MinIO", servers.store_answers(endpoint), child, START)
        return endpoint, f"http://127.0.0.1:{console}"

    def _prepare(self, instance: Instance) -> None:
        """What every part expects to be there: the system bucket, and the user people work as."""
        storage = StorageSettings.model_validate(
            {
                "s3_endpoint": instance.s3_endpoint,
                "s3_access_key": instance.s3_access_key,
                "s3_secret_key": instance.s3_secret_key,
                "s3_region": instance.s3_region,
            }
        )
        FunctionStore(storage).prepare()
        Roles(storage).grant_person(instance.user_secret_key)

    def _wait_for_parts(self, instance: Instance) -> None:
        settings = BrokerSettings.model_validate({"redis_url": instance.redis_url})
        redis = connect(settings)
        by_name = {child.name: child for child in self._children}

        def has(members: str, alive: Callable[[str], str]) -> bool:
            try:
                ids = redis.smembers(members)
                return any(redis.exists(alive(id.decode())) for id in ids)  # type: ignore[union-attr]
            except UNAVAILABLE:
                return False

        for name, members, alive in (
            ("intake", keys.INTAKES, keys.intake_alive),
            ("worker", keys.WORKERS, keys.worker_alive),
        ):
            servers.wait_for(f"the {name}", lambda: has(members, alive), by_name[name], START)  # noqa: B023

    def _begin(self, child: Child) -> Child:
        self._children.append(child)
        child.start()
        return child

    def _stop_all(self) -> None:
        """Flower, worker, intake, then what they need; each may end what it has begun."""
        for child in self._children[-3:]:
            if child.name in ("intake", "worker", "flower"):
                child.ask_to_stop()
        for child in reversed(self._children):
            child.stop(self._hurry)
        Instance.path(self._data).unlink(missing_ok=True)


def detach(log: Path) -> bool:
    """Go on in the background, with a session and output of its own; False in the foreground."""
    if os.fork() > 0:
        return False
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    return True
