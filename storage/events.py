"""Event records: what the object store tells, and what an AWS handler expects.

In: MinIO's notifications, `[{"Event": [record], "EventTime": …}]` (Redis list, format `access`) or
`{"EventName": …, "Key": …, "Records": [record]}` (webhook). Out: AWS's record,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html.
They differ in `eventSource`, the prefix of `eventName`, the region, and the key's encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
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
    eventSource: str = ""
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

#: MinIO's own name; its sequencers are times, of so many digits until the year 2554.
_MINIO: Final = "minio:s3"
_DIGITS: Final = 16
#: The version id of an object in a bucket that is not versioned, as listings have it.
_NO_VERSION: Final = "null"


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
    def written(self) -> datetime | None:
        """When the object was written, to the millisecond; None where the store does not tell.

        MinIO's sequencer is the object's modification time in nanoseconds, hexadecimal, whose
        milliseconds a listing tells too.
        """
        is_time = self._source.eventSource == _MINIO and len(self.sequencer) == _DIGITS
        if not is_time or not self.event.startswith("ObjectCreated:"):
            return None
        return datetime.fromtimestamp(int(self.sequencer, 16) // 1_000_000 / 1_000, UTC)

    @property
    def identity(self) -> str:
        """The same for every telling of one event, and for the object when it is found by listing.

        Of a write it holds only what a listing tells as well: two writes of the same bytes under
        one key in one millisecond count as one. A removal may have no sequencer of its own.
        """
        written = self.written
        if written is not None:
            version = "" if self.version_id == _NO_VERSION else self.version_id
            moment = written.isoformat(timespec="milliseconds")
            return "\0".join([self.bucket, self.key, version, moment, self.etag])
        parts = [self.bucket, self.key, self.version_id, self.sequencer, self.event]
        if not self.sequencer or self.event.startswith("ObjectRemoved"):
            parts += [self.request_id, self._source.eventTime]
        return "\0".join(parts)

    def aws_event(self, region: str) -> bytes:
        """The event an AWS handler gets: `{"Records": [record]}`, JSON."""
        return aws_event(self.aws_record(region))

    def aws_record(self, region: str) -> dict[str, Any]:
        """The record as AWS describes it."""
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


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One write, as a listing tells it."""

    bucket: str
    key: str
    #: Empty in a bucket that is not versioned.
    version_id: str
    size: int
    etag: str
    written: datetime

    def record(self, found_by: str) -> EventRecord:
        """The event that the store would have told of it, as close as can be.

        Its name is `ObjectCreated:Put`, however the object was written; the sequencer lacks what
        is below a millisecond; who wrote, from where, and the request are not known. `found_by`
        stands for the request's id, so that a handler can tell: `bucketwheel-sweep`.
        """
        nanoseconds = round(self.written.timestamp() * 1_000) * 1_000_000
        stored = _Object(
            key=quote_plus(self.key),
            size=self.size,
            eTag=self.etag,
            versionId=self.version_id,
            sequencer=f"{nanoseconds:016X}",
        )
        moment = self.written.astimezone(UTC).isoformat(timespec="milliseconds")
        source = _Record(
            eventSource=_MINIO,
            eventName="ObjectCreated:Put",
            eventTime=moment.replace("+00:00", "Z"),
            responseElements=_Response.model_validate({"x-amz-request-id": found_by}),
            s3=_S3(bucket=_Bucket(name=self.bucket), object=stored),
        )
        return _record(source)


def aws_event(record: dict[str, Any]) -> bytes:
    """The event of one record that AWS's way describes, JSON."""
    return orjson.dumps({"Records": [record]})


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
