"""`bucketwheel up`: the whole system on this machine, as children of one process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import AnyHttpUrl, SecretStr
from redis import Redis

from broker.connection import UNAVAILABLE
from broker.liveness import intakes_alive, workers_alive
from bucketwheel import instance, ports, servers
from bucketwheel.child import Child, ChildSpec
from bucketwheel.children import Children, Tell
from bucketwheel.credentials import Credentials
from bucketwheel.errors import StartError
from bucketwheel.instance import Instance
from bucketwheel.settings import LOOPBACK, UpSettings
from storage.errors import StorageError, StoreUnavailable
from storage.roles import PERSON
from storage.rules import BucketRules
from storage.settings import StorageSettings

#: Seconds for a server to answer, and for intake and worker to be at work.
SERVER_START: Final = 60.0
PART_START: Final = 30.0

#: Our own processes, in the order of their start.
PARTS: Final = ("intake", "worker", "flower")


@dataclass(frozen=True, slots=True)
class _Ports:
    s3: int
    console: int
    redis: int
    flower: int


class Up:
    """Starts everything, keeps it running, stops everything; start blocks until a signal."""

    def __init__(
        self,
        settings: UpSettings,
        tell: Tell,
        ready: Callable[[Instance], None],
        parts: tuple[str, ...] = PARTS,
    ) -> None:
        """`tell` gets what people should read; `ready` is called once all parts are started."""
        settings.check()
        self._settings = settings
        self._data = settings.data.absolute()
        self._tell, self._ready = tell, ready
        self._parts = parts
        self._children = Children(self._data / "logs", self._data, tell, self._describe)
        self._instance: Instance | None = None

    def start(self) -> None:
        """Run until SIGINT or SIGTERM; nothing that was started is left behind.

        Raises:
            InstanceError: a system runs on this folder already.
            StartError: a port is taken, a program is missing, a part does not start.
        """
        self._make_folders()
        with instance.holding(self._data), self._children.signals(), self._stopping():
            self._instance = self._start_servers()
            self._start_parts(self._instance)
            self._become_ready()
            while not self._children.asked_to_stop:
                self._children.run_once()

    def stop(self) -> None:
        """Have `start` end, as Ctrl-C does; a second call hurries."""
        self._children.ask_to_stop()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._children.asked_to_stop:
                self._tell("stopping; Ctrl-C again to hurry")
            self._children.stop()
            instance.remove(self._data)

    def _become_ready(self) -> None:
        if self._instance is not None and not self._children.asked_to_stop:
            self._instance = self._instance.model_copy(update={"ready": True})
            self._describe()
            self._ready(self._instance)

    def _make_folders(self) -> None:
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._data / "logs").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StartError(f"{self._data} cannot be used for data: {error.strerror}") from None

    # -- servers -----------------------------------------------------------------------------------

    def _start_servers(self) -> Instance:
        credentials = Credentials.keep(self._data)
        chosen = self._choose_ports()
        found = self._describe_servers(credentials, chosen)
        storage = storage_settings(found)
        events = found.redis_url
        if self._settings.redis_url is None:
            events = servers.events_url(chosen.redis, credentials)
            redis = servers.redis_spec(self._data, chosen.redis, credentials)
            self._start_server(redis, servers.redis_healthy(found.redis_url))
        else:
            _expect_redis(found.redis_url)
        if self._settings.s3_endpoint is None:
            both = (chosen.s3, chosen.console)
            minio = servers.minio_spec(self._settings, self._data, both, credentials, events)
            self._start_server(minio, servers.store_healthy(storage))
        else:
            _expect_store(storage)
        return found

    def _choose_ports(self) -> _Ports:
        """Ports of what is started here; 0 for what is not."""
        settings = self._settings
        wanted: dict[str, int] = {}
        if settings.s3_endpoint is None:
            wanted |= {"S3_PORT": settings.s3_port, "CONSOLE_PORT": settings.console_port}
        if settings.redis_url is None:
            wanted["REDIS_PORT"] = settings.redis_port
        if "flower" in self._parts:
            wanted["FLOWER_PORT"] = settings.flower_port
        names = ("S3_PORT", "CONSOLE_PORT", "REDIS_PORT", "FLOWER_PORT")
        chosen = ports.choose(wanted)
        return _Ports(*(chosen.get(name, 0) for name in names))

    def _describe_servers(self, credentials: Credentials, chosen: _Ports) -> Instance:
        settings = self._settings
        s3, access_key, secret_key = f"http://{LOOPBACK}:{chosen.s3}", "", SecretStr("")
        person = settings.user_secret_key or SecretStr(credentials.user_secret_key)
        if settings.s3_endpoint is not None:
            s3 = str(settings.s3_endpoint).rstrip("/")
            access_key = settings.s3_access_key or ""
            secret_key = settings.s3_secret_key or SecretStr("")
        redis = f"redis://:{credentials.redis_password}@{LOOPBACK}:{chosen.redis}/0"
        if settings.redis_url is not None:
            redis = settings.redis_url.get_secret_value()
        return Instance(
            pid=os.getpid(),
            s3_endpoint=s3,
            s3_access_key=access_key or credentials.s3_access_key,
            s3_secret_key=secret_key.get_secret_value() or credentials.s3_secret_key,
            s3_region=settings.s3_region,
            redis_url=redis,
            user_access_key=PERSON,
            user_secret_key=person.get_secret_value(),
            console_url=f"http://{LOOPBACK}:{chosen.console}" if chosen.console else None,
            flower_url=f"http://{LOOPBACK}:{chosen.flower}" if chosen.flower else None,
        )

    def _start_server(self, spec: ChildSpec, healthy: servers.Healthy) -> None:
        """Start a server and wait until it answers."""
        child = self._children.start(spec)
        end = time.monotonic() + SERVER_START
        while not self._children.asked_to_stop and not healthy():
            how = child.has_ended()
            if how or time.monotonic() > end:
                raise StartError(_why(child, how or f"does not answer after {SERVER_START:g} s"))
            time.sleep(0.02)

    # -- our own processes -------------------------------------------------------------------------

    def _start_parts(self, found: Instance) -> None:
        for name in self._parts:
            if not self._children.asked_to_stop:
                self._children.start(self._part(name, found))
        self._describe()
        end = time.monotonic() + PART_START
        while self._expects_parts(found) and time.monotonic() < end:
            self._children.run_once(0.1)
            if self._children.asked_to_stop:
                return

    def _expects_parts(self, found: Instance) -> bool:
        """Whether an intake or a worker is still to begin its work."""
        alive = {"intake": intakes_alive, "worker": workers_alive}
        try:
            with Redis.from_url(found.redis_url, socket_timeout=5) as redis:
                return any(not alive[name](redis) for name in alive.keys() & self._parts)
        except UNAVAILABLE:
            return True

    def _part(self, name: str, found: Instance) -> ChildSpec:
        variables = {**os.environ, **found.settings(), "BUCKETWHEEL_DATA": str(self._data)}
        variables.pop("BUCKETWHEEL_USER_SECRET_KEY", None)
        if name == "intake":  # which makes that user
            variables["BUCKETWHEEL_USER_SECRET_KEY"] = found.user_secret_key
        return ChildSpec(
            name=name,
            # -P: a folder of the user's named like one of our packages must not hide ours.
            command=(sys.executable, "-P", "-m", "bucketwheel", name),
            environment=variables,
            patience=self._settings.drain_timeout + 10 if name == "worker" else 10.0,
            mark=f"TMPDIR={self._data}/tmp/" if name == "worker" else "",
        )

    def _describe(self) -> None:
        """Tell others how to reach us, and which processes are ours."""
        if self._instance is not None and not self._children.asked_to_stop:
            children = self._children.pids
            self._instance.model_copy(update={"children": children}).write(self._data)


def _expect_redis(url: str) -> None:
    if not servers.redis_healthy(url)():
        raise StartError(
            "Redis that BUCKETWHEEL_REDIS_URL names does not answer, or refuses its credentials"
        )


def _expect_store(storage: StorageSettings) -> None:
    try:
        BucketRules(storage).target()
    except StoreUnavailable:
        raise StartError(
            "the object store that BUCKETWHEEL_S3_ENDPOINT names does not answer, or refuses its"
            " credentials"
        ) from None
    except StorageError as error:
        raise StartError(f"BUCKETWHEEL_S3_ENDPOINT: {error}") from None


def storage_settings(found: Instance) -> StorageSettings:
    """The platform's own way to the object store."""
    return StorageSettings(
        s3_endpoint=AnyHttpUrl(found.s3_endpoint),
        s3_access_key=found.s3_access_key,
        s3_secret_key=SecretStr(found.s3_secret_key),
        s3_region=found.s3_region,
    )


def _why(child: Child, how: str) -> str:
    lines = "".join(f"\n  {line}" for line in child.log.tail())
    return f"{child.name} {how}; its log is {child.log.path}{lines}"
