"""Roles: each function is a user of the store, and its environments get sessions of that user.

A session is made by STS AssumeRole (https://docs.aws.amazon.com/STS/latest/APIReference/); its
rights are those of the user's policy. The user's secret is derived from ours, and stored nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from minio.credentials.providers import AssumeRoleProvider

from storage.client import administration, asking, http
from storage.configuration import FunctionConfiguration
from storage.settings import StorageSettings
from storage.watermark import STATE

#: How long a session lasts; it is renewed at half of that.
SESSION: Final = timedelta(hours=12)
#: The user that people work with: what `bucketwheel env` prints.
PERSON: Final = "bucketwheel-user"
_FUNCTION: Final = "bucketwheel-function-"

_READ: Final = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"]
_WRITE: Final = [
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
]
_BUCKET: Final = ["s3:ListBucket", "s3:GetBucketLocation"]


@dataclass(frozen=True, slots=True)
class RoleCredentials:
    """What a function signs its requests with."""

    access_key: str
    secret_key: str
    session_token: str
    expires_at: datetime


class Roles:
    """Grants rights to functions, and hands out their sessions."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._sessions: dict[str, RoleCredentials] = {}

    def grant(
        self, configuration: FunctionConfiguration, serving: FunctionConfiguration | None = None
    ) -> None:
        """Make the function's user, with exactly the rights its configuration asks for.

        Until `restrict`, also with those of the version that is serving, if one is named.
        """
        wanted = [configuration] if serving is None else [serving, configuration]
        statements = [each for one in wanted for each in policy(one, self._settings.system_bucket)]
        self._put_user(_user(configuration.name), self._secret(configuration.name), statements)

    def restrict(self, configuration: FunctionConfiguration) -> None:
        """Leave the function's user exactly the rights its configuration asks for."""
        statements = policy(configuration, self._settings.system_bucket)
        user = _user(configuration.name)
        with asking(f"restricting rights of {user}"):
            administration(self._settings).policy_add(user, policy=_document(statements))

    def grant_person(self, secret: str) -> None:
        """Make the user that people work with: every bucket, but the system bucket for uploads."""
        system = f"arn:aws:s3:::{self._settings.system_bucket}"
        changes = ["s3:List*", "s3:Put*", "s3:Delete*", "s3:ForceDeleteBucket"]
        hidden = [f"{system}/{each}/*" for each in ("code", "functions", "layers", STATE)]
        statements = [
            _allow(["s3:*"], ["arn:aws:s3:::*"]),
            {"Effect": "Deny", "Action": changes, "Resource": [system]},
            {"Effect": "Deny", "Action": ["s3:*"], "Resource": hidden},
        ]
        self._put_user(PERSON, secret, statements)

    def credentials(self, configuration: FunctionConfiguration) -> RoleCredentials:
        """A session of the function's user, with at least half of its time left."""
        name = configuration.name
        with self._lock:
            session = self._sessions.get(name)
            if session is None or session.expires_at - datetime.now(UTC) < SESSION / 2:
                session = self._sessions[name] = self._assume(name)
            return session

    def _assume(self, name: str) -> RoleCredentials:
        with asking(f"making a session for {name}"):
            provider = AssumeRoleProvider(
                sts_endpoint=str(self._settings.s3_endpoint),
                access_key=_user(name),
                secret_key=self._secret(name),
                duration_seconds=int(SESSION.total_seconds()),
                region=self._settings.s3_region,
                http_client=http(),
            )
            found = provider.retrieve()
        return RoleCredentials(
            access_key=found.access_key,
            secret_key=found.secret_key,
            session_token=found.session_token or "",
            expires_at=datetime.now(UTC) + SESSION,
        )

    def _put_user(self, user: str, secret: str, statements: list[dict[str, Any]]) -> None:
        with asking(f"granting rights to {user}"):
            admin = administration(self._settings)
            admin.policy_add(user, policy=_document(statements))
            admin.user_add(user, secret)
            admin.policy_set(user, user=user)

    def _secret(self, name: str) -> str:
        ours = self._settings.s3_secret_key.get_secret_value().encode()
        return hmac.new(ours, f"role:{name}".encode(), hashlib.sha256).hexdigest()[:40]


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def policy(configuration: FunctionConfiguration, system_bucket: str) -> list[dict[str, Any]]:
    """Read where it is triggered and where it says, write where it says; without a word, where it
    is triggered; and put the records of its invocations where they are to go.

    Never anything in the system bucket: other functions' code and variables lie there.
    """
    buckets = sorted({trigger.bucket for trigger in configuration.triggers})
    writes = configuration.writes
    if writes is None:
        writes = tuple(f"{bucket}/" for bucket in buckets)
    system = f"arn:aws:s3:::{system_bucket}"
    statements = [{"Effect": "Deny", "Action": ["s3:*"], "Resource": [system, f"{system}/*"]}]
    if buckets:
        statements.append(_allow(_READ, [f"arn:aws:s3:::{bucket}/*" for bucket in buckets]))
    if writes:
        statements.append(_allow(_WRITE, [f"arn:aws:s3:::{pattern}*" for pattern in writes]))
    if configuration.reads:
        statements.append(_allow(_READ, [f"arn:aws:s3:::{each}*" for each in configuration.reads]))
    told = tuple(_pattern(each) for each in _destinations(configuration))
    if told:
        statements.append(_allow(["s3:PutObject"], [f"arn:aws:s3:::{each}*" for each in told]))
    named = (*writes, *configuration.reads)
    seen = sorted({pattern.split("/", 1)[0] for pattern in named}.union(buckets))
    if seen:
        statements.append(_allow(_BUCKET, [f"arn:aws:s3:::{bucket}" for bucket in seen]))
    return statements


def _destinations(configuration: FunctionConfiguration) -> list[str]:
    """Where in the store it wants the records of its invocations."""
    named = (configuration.on_success, configuration.on_failure)
    return [each for each in named if each is not None and each.startswith("s3://")]


def _pattern(destination: str) -> str:
    bucket, _, prefix = destination.removeprefix("s3://").partition("/")
    folder = prefix.rstrip("/")
    return f"{bucket}/{folder}/" if folder else f"{bucket}/"


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def function_of(principal: str) -> str:
    """The function whose user this is, or whose session's; empty: it is nobody's."""
    name = principal.removeprefix(_FUNCTION)
    return name if name != principal else ""


def _user(name: str) -> str:
    """Never `PERSON`, whatever the function's name."""
    return _FUNCTION + name
