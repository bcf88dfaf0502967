"""Settings: how every package reads its values, and where the object store is."""

from __future__ import annotations

from typing import Self

from pydantic import AnyHttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.configuration import BucketName
from storage.errors import SettingsError

PREFIX = "BUCKETWHEEL_"


class Settings(BaseSettings):
    """Values of one package, each read from the environment variable `BUCKETWHEEL_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    @classmethod
    def read(cls) -> Self:
        """Read and validate the environment once.

        Raises:
            SettingsError: one line per bad or missing value, naming its environment variable.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(_one_line_each(error)) from None


def _one_line_each(error: ValidationError) -> str:
    """Tell each fault in a line of its own; the value is left out, since it may be a secret."""
    return "\n".join(
        f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()
    )


class StorageSettings(Settings):
    """Where the object store is, and who we are there."""

    s3_endpoint: AnyHttpUrl
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_region: str = "us-east-1"
    #: Bucket of the platform itself: uploads of code, packages, configurations.
    system_bucket: BucketName = "bucketwheel"
