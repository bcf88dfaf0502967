"""Bucket rules: which buckets tell the platform of their events.

One rule per bucket: the store's records do not say which rule fired, so prefixes and suffixes are
matched by our code. What all triggers of a bucket have in common of their prefixes is in its rule,
though: a function that stores its results beside what it takes them from has nothing told of them.
Writing a bucket's rules replaces all of them: foreign ones stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from os.path import commonprefix
from typing import Final, Self

from minio import Minio
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig

from storage.client import administration, asking, connect
from storage.configuration import FunctionConfiguration, Trigger, uploads
from storage.errors import StorageError
from storage.settings import StorageSettings

#: The store's name of the Redis list; `MINIO_NOTIFY_REDIS_ENABLE_BUCKETWHEEL=on` makes it.
TARGET: Final = "BUCKETWHEEL"
#: Prefixes that the store takes as they are: to it `*` is any text, and a backslash an error.
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_.,:;=+@!'() /-]{0,1024}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a bucket tells: these events, of keys that begin so."""

    events: frozenset[str]
    prefix: str

    @classmethod
    def of(cls, trigger: Trigger) -> Self:
        """The rule that tells what a trigger wants, and maybe more."""
        return cls(frozenset(f"s3:{event}" for event in trigger.events), _told_of(trigger.prefix))

    def __or__(self, other: Rule) -> Rule:
        """The rule that tells what both do, and maybe more."""
        prefix = _told_of(commonprefix([self.prefix, other.prefix]))  # noqa: RUF071 - of keys, not paths
        return Rule(self.events | other.events, prefix)

    def tells(self, other: Rule) -> bool:
        """Whether nothing of the other is missing here."""
        return other.events <= self.events and other.prefix.startswith(self.prefix)


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
        wanted = _by_bucket(triggers)
        target = self.target()
        with asking("asserting bucket rules"):
            buckets = {bucket.name for bucket in self._client.list_buckets()}
            for bucket in sorted(wanted.keys() - buckets):
                self._client.make_bucket(bucket)
            for bucket in sorted(wanted.keys() | buckets):
                self._ensure_bucket(bucket, wanted.get(bucket), target)

    def mend(self, triggers: Iterable[Trigger]) -> list[str]:
        """Have the buckets of these triggers tell at least these triggers' events.

        Nothing is taken away: a deployment may be adding to it. A bucket that is gone stays gone.

        Returns those that did not tell all of it; what was written there meanwhile is not known of.

        Raises: as `ensure`.
        """
        wanted, mended = _by_bucket(triggers), []
        target = self.target()
        with asking("looking at bucket rules"):
            buckets = {bucket.name for bucket in self._client.list_buckets()}
            for bucket in sorted(wanted.keys() & buckets):
                told = self._told(bucket, target)
                if not any(rule.tells(wanted[bucket]) for rule in told):
                    self._ensure_bucket(bucket, reduce(or_, told, wanted[bucket]), target)
                    mended.append(bucket)
        return mended

    def _told(self, bucket: str, target: str) -> list[Rule]:
        """What a bucket tells us, whatever the end of the key."""
        rules = self._client.get_bucket_notification(bucket).queue_config_list
        found = [each for each in rules if each.queue == target and not each.suffix_filter_rule]
        return [_rule(each) for each in found]

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

    def _ensure_bucket(self, bucket: str, rule: Rule | None, target: str) -> None:
        found = self._client.get_bucket_notification(bucket)
        ours = [each for each in found.queue_config_list if each.queue == target]
        if _are(ours, rule):
            return
        foreign = [each for each in found.queue_config_list if each.queue != target]
        self._client.set_bucket_notification(
            bucket,
            NotificationConfig(
                queue_config_list=foreign + ([_configured(rule, target)] if rule else []),
                cloud_func_config_list=found.cloud_func_config_list,
                topic_config_list=found.topic_config_list,
            ),
        )


def _by_bucket(triggers: Iterable[Trigger]) -> dict[str, Rule]:
    """For each bucket the one rule that tells what all its triggers want."""
    wanted: dict[str, Rule] = {}
    for trigger in triggers:
        rule = Rule.of(trigger)
        wanted[trigger.bucket] = wanted.get(trigger.bucket, rule) | rule
    return wanted


def _told_of(prefix: str) -> str:
    """The prefix, if the store can be asked for it; else none, and all keys are told."""
    plain = _PLAIN.fullmatch(prefix) and not {".", ".."} & set(prefix.split("/"))
    return prefix if plain else ""


def _configured(rule: Rule, target: str) -> QueueConfig:
    return QueueConfig(
        queue=target,
        events=sorted(rule.events),
        config_id="bucketwheel",
        prefix_filter_rule=PrefixFilterRule(rule.prefix) if rule.prefix else None,
    )


def _rule(configured: QueueConfig) -> Rule:
    prefix = configured.prefix_filter_rule
    return Rule(frozenset(configured.events), str(prefix.value) if prefix else "")


def _are(ours: Sequence[QueueConfig], rule: Rule | None) -> bool:
    """Whether these are the one rule that we want."""
    if rule is None:
        return not ours
    return len(ours) == 1 and not ours[0].suffix_filter_rule and _rule(ours[0]) == rule
