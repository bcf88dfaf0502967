"""Bucket rules: which buckets tell the platform of their events.

One rule per bucket, for every key: the store's records do not say which rule fired, so prefixes and
suffixes are matched by our code. Writing a bucket's rules replaces all of them: foreign ones stay.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from minio import Minio
from minio.notificationconfig import NotificationConfig, QueueConfig

from storage.client import administration, asking, connect
from storage.configuration import FunctionConfiguration, Trigger, uploads
from storage.errors import StorageError
from storage.settings import StorageSettings

#: The store's name of the Redis list; `MINIO_NOTIFY_REDIS_ENABLE_BUCKETWHEEL=on` makes it.
TARGET: Final = "BUCKETWHEEL"


class BucketRules:
    """Reads and writes the rules of buckets, whenever functions change and at each start."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._client: Minio = connect(settings)

    def ensure_for(self, functions: Iterable[FunctionConfiguration]) -> None:
        """The rules of these functions, and of the platform's own trigger: uploads of code.

        Raises: as `ensure`.
        """
        triggers = [trigger for each in functions for trigger in each.triggers]
        self.ensure([*triggers, uploads(self._settings.system_bucket)])

    def mend_for(self, functions: Iterable[FunctionConfiguration]) -> list[str]:
        """As `mend`, for these functions and uploads of code."""
        triggers = [trigger for each in functions for trigger in each.triggers]
        return self.mend([*triggers, uploads(self._settings.system_bucket)])

    def ensure(self, triggers: Iterable[Trigger]) -> None:
        """Make the buckets of these triggers, and have each tell exactly these triggers' events.

        Raises:
            StorageError: the store has no event target of ours.
            StoreUnavailable: it refused or did not answer.
        """
        wanted = _events_by_bucket(triggers)
        target = self.target()
        with asking("asserting bucket rules"):
            buckets = {bucket.name for bucket in self._client.list_buckets()}
            for bucket in sorted(wanted.keys() - buckets):
                self._client.make_bucket(bucket)
            for bucket in sorted(wanted.keys() | buckets):
                self._ensure_bucket(bucket, wanted.get(bucket, set()), target)

    def mend(self, triggers: Iterable[Trigger]) -> list[str]:
        """Have the buckets of these triggers tell at least these triggers' events.

        Nothing is taken away: a deployment may be adding to it. A bucket that is gone stays gone.

        Returns those that did not tell all of it; what was written there meanwhile is not known of.

        Raises: as `ensure`.
        """
        wanted, mended = _events_by_bucket(triggers), []
        target = self.target()
        with asking("looking at bucket rules"):
            buckets = {bucket.name for bucket in self._client.list_buckets()}
            for bucket in sorted(wanted.keys() & buckets):
                told = self._told(bucket, target)
                if not wanted[bucket] <= told:
                    self._ensure_bucket(bucket, wanted[bucket] | told, target)
                    mended.append(bucket)
        return mended

    def _told(self, bucket: str, target: str) -> set[str]:
        """The events that a bucket tells us of, whatever the key."""
        rules = self._client.get_bucket_notification(bucket).queue_config_list
        return {
            event
            for rule in rules
            if rule.queue == target and not (rule.prefix_filter_rule or rule.suffix_filter_rule)
            for event in rule.events
        }

    def target(self) -> str:
        """ARN of the store's event target that is ours.

        A rule that names a target the server does not have would drop every event silently.
        """
        with asking("looking for the event target"):
            arns = json.loads(administration(self._settings).info()).get("sqsARN") or []
        for arn in arns:
            if arn.endswith(f":{TARGET}:redis"):
                return str(arn)
        raise StorageError(
            f"the object store has no event target {TARGET}: start it with"
            f" MINIO_NOTIFY_REDIS_ENABLE_{TARGET}=on, _ADDRESS_{TARGET}, _FORMAT_{TARGET}=access"
            f" and _KEY_{TARGET}=bucketwheel:events"
        )

    def _ensure_bucket(self, bucket: str, events: set[str], target: str) -> None:
        found = self._client.get_bucket_notification(bucket)
        ours = [rule for rule in found.queue_config_list if rule.queue == target]
        if _are(ours, events):
            return
        foreign = [rule for rule in found.queue_config_list if rule.queue != target]
        rule = [QueueConfig(queue=target, events=sorted(events), config_id="bucketwheel")]
        self._client.set_bucket_notification(
            bucket,
            NotificationConfig(
                queue_config_list=foreign + (rule if events else []),
                cloud_func_config_list=found.cloud_func_config_list,
                topic_config_list=found.topic_config_list,
            ),
        )


def _events_by_bucket(triggers: Iterable[Trigger]) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = defaultdict(set)
    for trigger in triggers:
        wanted[trigger.bucket] |= {f"s3:{event}" for event in trigger.events}
    return dict(wanted)


def _are(rules: list[QueueConfig], events: set[str]) -> bool:
    """Whether these rules are the one we want: every key, these events."""
    if not events:
        return not rules
    if len(rules) != 1:
        return False
    filtered = rules[0].prefix_filter_rule or rules[0].suffix_filter_rule
    return not filtered and set(rules[0].events) == events
