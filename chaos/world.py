"""What faults happen to: two hosts' processes and connections."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
from redis import Redis
from redis.exceptions import RedisError

from broker.liveness import workers_alive
from bucketwheel.errors import InstanceError
from bucketwheel.testing import System
from chaos.second_host import SecondHost

_ZYGOTE = "workers.zygote_process"


@dataclass
class World:
    """The system's own host, and the second one."""

    system: System
    host: SecondHost
    dice: random.Random
    #: Set: every fault ends now.
    over: threading.Event = field(default_factory=threading.Event)

    def parts(self, name: str) -> list[psutil.Process]:
        """Processes of this part, on both hosts."""
        pids = [self.system.instance.children.get(name), self.host.pid(name)]
        return [process for pid in pids if pid for process in _process(pid)]

    def zygotes(self) -> list[psutil.Process]:
        """Zygotes of all workers."""
        return [each for worker in self.parts("worker") for each in _children(worker, _ZYGOTE)]

    def environments(self) -> list[psutil.Process]:
        """Environments of all workers."""
        return [each for zygote in self.zygotes() for each in _children(zygote)]

    def hold(self, process: psutil.Process, seconds: float) -> None:
        """Stop a process, and have it go on after so many seconds."""
        process.send_signal(signal.SIGSTOP)
        try:
            self.over.wait(seconds)
        finally:
            for each in _process(process.pid):
                each.send_signal(signal.SIGCONT)

    @property
    def redis_configuration(self) -> Path:
        """Without it, Redis does not start."""
        return self.system.data / "redis" / "redis.conf"

    def redis(self) -> Redis:
        """A new client, to be closed."""
        return Redis.from_url(self.system.instance.redis_url, socket_timeout=2)

    def is_whole(self) -> bool:
        """Whether all is there: servers that answer, two intakes, two workers that have leases."""
        try:
            with self.redis() as redis:
                leases = set(workers_alive(redis))
        except (RedisError, OSError, InstanceError):
            return False
        return len(leases) == len(self.parts("worker")) == len(self.parts("intake")) == 2 and (
            self._store_answers()
        )

    def _store_answers(self) -> bool:
        found = urlsplit(self.system.instance.s3_endpoint)
        try:
            with urlopen(f"http://{found.netloc}/minio/health/ready", timeout=2):
                return True
        except OSError:
            return False


def _process(pid: int) -> Iterator[psutil.Process]:
    try:
        yield psutil.Process(pid)
    except psutil.NoSuchProcess:
        return


def _children(parent: psutil.Process, argument: str = "") -> list[psutil.Process]:
    try:
        found = parent.children()
        return [each for each in found if not argument or argument in each.cmdline()]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
