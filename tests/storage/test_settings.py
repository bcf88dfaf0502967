"""Settings: read from the environment once, and refused in one plain line each."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from storage.errors import SettingsError
from storage.settings import StorageSettings

GOOD = {"S3_ENDPOINT": "http://127.0.0.1:9000", "S3_ACCESS_KEY": "us", "S3_SECRET_KEY": "hush-hush"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings that are needed, as environment variables."""
    for name, value in GOOD.items():
        monkeypatch.setenv(f"BUCKETWHEEL_{name}", value)
    return monkeypatch


def test_every_setting_is_an_environment_variable(environment: pytest.MonkeyPatch) -> None:
    """Its name in capitals, behind `BUCKETWHEEL_`."""
    environment.setenv("BUCKETWHEEL_S3_REGION", "eu-central-1")
    environment.setenv("BUCKETWHEEL_SYSTEM_BUCKET", "platform")
    found = StorageSettings.read()

    assert str(found.s3_endpoint) == "http://127.0.0.1:9000/"
    assert (found.s3_access_key, found.s3_secret_key.get_secret_value()) == ("us", "hush-hush")
    assert (found.s3_region, found.system_bucket) == ("eu-central-1", "platform")


def test_what_may_be_left_out_has_a_value(environment: pytest.MonkeyPatch) -> None:
    """Only where the store is, and who we are there, must be said."""
    found = StorageSettings.read()

    assert (found.s3_region, found.system_bucket) == ("us-east-1", "bucketwheel")


def test_each_missing_setting_has_a_line_with_its_variables_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who reads it knows what to set."""
    for name in GOOD:
        monkeypatch.delenv(f"BUCKETWHEEL_{name}", raising=False)

    with pytest.raises(SettingsError) as refused:
        StorageSettings.read()

    assert str(refused.value).splitlines() == [
        "BUCKETWHEEL_S3_ENDPOINT: Field required",
        "BUCKETWHEEL_S3_ACCESS_KEY: Field required",
        "BUCKETWHEEL_S3_SECRET_KEY: Field required",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("S3_ENDPOINT", "not-a-url"), ("S3_ENDPOINT", "ftp://x"), ("SYSTEM_BUCKET", "Not A Bucket")],
)
def test_a_bad_setting_is_named_in_one_line(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A fault that only shows when the store is asked would be hard to find."""
    environment.setenv(f"BUCKETWHEEL_{name}", value)

    with pytest.raises(SettingsError, match=rf"\ABUCKETWHEEL_{name}: .+\Z"):
        StorageSettings.read()


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    """Neither by the settings themselves nor by a refusal."""
    assert "hush-hush" not in repr(StorageSettings.read())
    environment.setenv("BUCKETWHEEL_S3_ENDPOINT", "hush-hush")

    with pytest.raises(SettingsError) as refused:
        StorageSettings.read()

    assert "hush-hush" not in str(refused.value)


def test_settings_cannot_be_changed(environment: pytest.MonkeyPatch) -> None:
    """What was validated is what holds."""
    found = StorageSettings.read()

    with pytest.raises(ValidationError, match="frozen"):
        found.s3_region = "other"
