"""Settings of `bucketwheel up`."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, Field, IPvAnyAddress, SecretStr

from broker.settings import BrokerSettings
from bucketwheel.errors import StartError
from storage.configuration import BucketName
from storage.settings import Settings
from workers.settings import WorkerSettings

Port = Annotated[int, Field(ge=0, le=65_535)]

#: Everything is bound to this address.
LOOPBACK: Final = "127.0.0.1"


class UpSettings(Settings):
    """Where a system keeps its data, and how it is reached. A port of 0 is any free one."""

    data: Path = Path(".bucketwheel")
    s3_port: Port = 9000
    console_port: Port = 9001
    redis_port: Port = 6390
    flower_port: Port = 5555
    #: Where Flower listens: with a password, it may be beyond this machine.
    flower_address: IPvAnyAddress = IPv4Address(LOOPBACK)
    #: Of the user `bucketwheel`; without it, whoever reaches Flower may use it.
    flower_password: SecretStr | None = Field(default=None, min_length=8)
    #: A running object store; without it, MinIO is started.
    s3_endpoint: AnyHttpUrl | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    system_bucket: BucketName = "bucketwheel"
    #: What people sign with; without it, `up` makes one at random.
    user_secret_key: SecretStr | None = Field(default=None, min_length=8)
    #: A running Redis; without it, one is started.
    redis_url: SecretStr | None = None
    #: Keep events on disk while Redis is away; each event then comes up to 3 s late.
    event_queue: bool = False
    #: The MinIO server's program; without it, the one beside Python or on PATH.
    minio: Path | None = None
    #: Seconds a stopping worker waits for running invocations.
    drain_timeout: float = Field(default=30.0, ge=0)

    def check(self) -> None:
        """Refuse settings that do not fit together, and those that a part would refuse.

        Raises:
            SettingsError: one line per bad value of a part, naming its environment variable.
            StartError: naming the variables.
        """
        BrokerSettings.read()
        WorkerSettings.read()
        self.check_flower()
        keys = self.s3_access_key and self.s3_secret_key
        if self.s3_endpoint is not None and not keys:
            raise StartError(
                "BUCKETWHEEL_S3_ENDPOINT names a running object store: set also"
                " BUCKETWHEEL_S3_ACCESS_KEY and BUCKETWHEEL_S3_SECRET_KEY"
            )
        if self.redis_url is not None and self.s3_endpoint is None:
            self._check_redis(self.redis_url.get_secret_value())

    def check_flower(self) -> None:
        """Refuse to let others stop workers and functions.

        Raises:
            StartError: naming the variables.
        """
        if self.flower_password is None and not self.flower_address.is_loopback:
            raise StartError(
                f"BUCKETWHEEL_FLOWER_ADDRESS: others reach {self.flower_address}, and Flower stops"
                " workers and functions: set also BUCKETWHEEL_FLOWER_PASSWORD"
            )

    def _check_redis(self, url: str) -> None:
        """MinIO speaks plain TCP to database 0 only."""
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname or parts.path not in ("", "/", "/0"):
            raise StartError(
                "BUCKETWHEEL_REDIS_URL must be redis://[user:password@]host[:port]/0: MinIO pushes"
                " its events without TLS, and into database 0"
            )
