"""Credentials of a system: made once, at random, and kept for its owner alone."""

from __future__ import annotations

import json
import os
import secrets
import string
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

from bucketwheel.errors import InstanceError

_ALPHABET: Final = string.ascii_letters + string.digits


def write_private(path: Path, content: str) -> None:
    """Replace a file at once, readable by its owner alone from its first moment."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Keys and passwords that the parts of one system share."""

    #: MinIO's root; the platform's own.
    s3_access_key: str
    s3_secret_key: str
    #: What people sign with: `bucketwheel env`.
    user_secret_key: str
    redis_password: str
    #: With this one MinIO may push events, and nothing else.
    redis_events_password: str

    @classmethod
    def keep(cls, folder: Path) -> Self:
        """Those kept in this folder; made now if there are none.

        Raises:
            InstanceError: the file is damaged.
        """
        path = folder / "credentials.json"
        if not path.exists():
            made = cls(_random(20), _random(40), _random(40), _random(40), _random(40))
            write_private(path, json.dumps(asdict(made), indent=2) + "\n")
            return made
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{each.name: _text(kept[each.name]) for each in fields(cls)})
        except (ValueError, KeyError, TypeError):
            raise InstanceError(
                f"{path} is damaged: restore it, or remove the folder to begin anew"
            ) from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("an empty key would lock everybody out, or let everybody in")
    return value


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
