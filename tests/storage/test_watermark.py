"""The watermark in the system bucket."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from minio import Minio

from storage.functions import FunctionStore
from storage.settings import StorageSettings
from storage.watermark import StoredWatermark


def test_the_last_moment_is_kept_and_no_other(storage: StorageSettings, store: Minio) -> None:
    """The bucket is versioned, yet the document leaves no versions behind."""
    own = storage.model_copy(update={"system_bucket": f"system-{uuid.uuid4().hex[:10]}"})
    FunctionStore(own).prepare()
    stored, now = StoredWatermark(own), datetime.now(UTC)
    assert stored.load() is None

    for minutes in range(3):
        stored.save(now + timedelta(minutes=minutes))
    assert stored.load() == now + timedelta(minutes=2)
    listed = store.list_objects(own.system_bucket, prefix="state/", include_version=True)
    assert len(list(listed)) == 1


def test_without_a_system_bucket_nothing_is_known(storage: StorageSettings) -> None:
    """A store that is new is no fault."""
    own = storage.model_copy(update={"system_bucket": f"none-{uuid.uuid4().hex[:10]}"})
    assert StoredWatermark(own).load() is None
