"""Event records: what the object store tells, and what an AWS handler expects.

In: MinIO's notifications, `[{"Event": [record], "EventTime": …}]` (Redis list, format `access`) or
`{"EventName": …, "Key": …, "Records": [record]}` (webhook). Out: AWS's record,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
They differ in `eventSource`, the prefix of `eventName`, the region, and the key's encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, unquote_plus

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from storage.errors import EventFormatError, first_fault


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Principal(_Part):
    principalId: str = ""


class _Request(_Part):
    sourceIPAddress: str = ""


class _Response(_Part):
    request_id: str = Field(default="", alias="x-amz-request-id")
    host_id: str = Field(default="", alias="x-amz-id-2")


class _Bucket(_Part):
    name: str = Field(min_length=1)
    ownerIdentity: _Principal = _Principal()


class _Object(_Part):
    key: str = Field(min_length=1)
    size: int = Field(default=0, ge=0, lt=2**63)
    eTag: str = ""
    versionId: str = ""
    sequencer: str = Field(default="", pattern=r"^[0-9A-Fa-f]*$")


class _S3(_Part):
    configurationId: str = "Config"
    bucket: _Bucket
    object: _Object


class _Source(_Part):
    userAgent: str = ""


class _Record(_Part):
    eventName: str = Field(min_length=1)
    eventTime: str = ""
    userIdentity: _Principal = _Principal()
    requestParameters: _Request = _Request()
    responseElements: _Response = _Response()
    s3: _S3
    source: _Source = _Source()


class _Access(_Part):
    Event: list[_Record]


class _Webhook(_Part):
    Records: list[_Record]


_ACCESS: Final = TypeAdapter(list[_Access])


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One thing that happened to one object."""

    bucket: str
    #: As the user wrote it, not encoded.
    key: str
    #: AWS's name, without `s3:`: `ObjectCreated:Put`.
    event: str
    version_id: str
    #: Hexadecimal, or empty where a store has none; orders the writes of one key.
    sequencer: str
    size: int
    etag: str
    #: Who wrote: a user of the store, also for his temporary sessions.
    principal: str
    user_agent: str
    request_id: str
    _source: _Record

    @property
    def identity(self) -> str:
        """The same for every telling of one event; a removal may have no sequencer of its own."""
        parts = [self.bucket, self.key, self.version_id, self.sequencer, self.event]
        if not self.sequencer or self.event.startswith("ObjectRemoved"):
            parts += [self.request_id, self._source.eventTime]
        return "\0".join(parts)

    def aws_event(self, region: str) -> bytes:
        """The event an AWS handler gets: `{"Records": [record]}`, JSON."""
        return orjson.dumps({"Records": [self._to_aws(region)]})

    def _to_aws(self, region: str) -> dict[str, Any]:
        source = self._source
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": region,
            "eventTime": source.eventTime,
            "eventName": self.event,
            "userIdentity": {"principalId": self.principal},
            # The store puts an IPv6 address into brackets.
            "requestParameters": {
                "sourceIPAddress": source.requestParameters.sourceIPAddress.strip("[]")
            },
            "responseElements": {
                "x-amz-request-id": self.request_id,
                "x-amz-id-2": source.responseElements.host_id,
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": source.s3.configurationId,
                "bucket": {
                    "name": self.bucket,
                    "ownerIdentity": {"principalId": source.s3.bucket.ownerIdentity.principalId},
                    "arn": f"arn:aws:s3:::{self.bucket}",
                },
                "object": self._object(),
            },
        }

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": quote_plus(self.key, safe="/"), "sequencer": self.sequencer}
        if not self.event.startswith("ObjectRemoved"):
            found |= {"size": self.size, "eTag": self.etag}
        if self.version_id:
            found["versionId"] = self.version_id
        return found


def parse(notification: bytes) -> tuple[EventRecord, ...]:
    """Read a notification.

    Raises:
        EventFormatError: it is not JSON, or not of a known shape; the message says where.
    """
    try:
        return tuple(_record(each) for each in _records(orjson.loads(notification)))
    except orjson.JSONDecodeError as error:
        raise EventFormatError(f"a notification is not JSON: {error}") from None
    except ValidationError as error:
        message = f"a notification is not of a known shape: {first_fault(error)}"
        raise EventFormatError(message) from None


def _records(notification: object) -> list[_Record]:
    if isinstance(notification, dict):
        return _Webhook.model_validate(notification).Records
    return [each for access in _ACCESS.validate_python(notification) for each in access.Event]


def _record(source: _Record) -> EventRecord:
    stored = source.s3.object
    try:
        key = unquote_plus(stored.key, errors="strict")
    except UnicodeDecodeError:
        raise EventFormatError(f"a notification's key is not UTF-8: {stored.key[:100]}") from None
    return EventRecord(
        bucket=source.s3.bucket.name,
        key=key,
        event=source.eventName.removeprefix("s3:"),
        version_id=stored.versionId,
        sequencer=stored.sequencer,
        size=stored.size,
        etag=stored.eTag,
        principal=source.userIdentity.principalId,
        user_agent=source.source.userAgent,
        request_id=source.responseElements.request_id,
        _source=source,
    )
