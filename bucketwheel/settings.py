"""Settings of `bucketwheel up`."""

from __future__ import annotations

from pathlib import Path

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from storage.settings import Settings

DATA = Path(".bucketwheel")


class UpSettings(Settings):
    """What to start, where its data lie, and on which ports of this machine it listens."""

    data: Path = DATA
    #: Ports on 127.0.0.1; 0: any free one.
    s3_port: int = Field(default=9000, ge=0, le=65_535)
    console_port: int = Field(default=9001, ge=0, le=65_535)
    redis_port: int = Field(default=6390, ge=0, le=65_535)
    flower_port: int = Field(default=5555, ge=0, le=65_535)
    #: An object store that runs already, instead of one of our own; with its credentials.
    s3_endpoint: AnyHttpUrl | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    #: A Redis that runs already, instead of one of our own.
    redis_url: SecretStr | None = None
    #: Keep events on disk while Redis is away; each is then up to 3 s late.
    event_queue: bool = False
    #: The MinIO server's program, if it is neither beside Python nor on PATH.
    minio: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> UpSettings:
        if self.s3_endpoint and not (self.s3_access_key and self.s3_secret_key):
            raise ValueError(
                "BUCKETWHEEL_S3_ENDPOINT needs BUCKETWHEEL_S3_ACCESS_KEY and"
                " BUCKETWHEEL_S3_SECRET_KEY beside it"
            )
        return self
