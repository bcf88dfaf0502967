"""Lua scripts: each a file in `lua/` that opens with its keys and what it does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

_FOLDER = Path(__file__).parent / "lua"

Argument = str | bytes | int | float


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


class Script:
    """One script, sent whole only when Redis does not know it yet (after a restart, say)."""

    def __init__(self, name: str, *shared: str) -> None:
        """`shared` are files of functions that it has in common with other scripts."""
        self.text = "".join(map(_read, ("prelude", *shared, name)))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, *arguments: Argument) -> Any:
        """Run it atomically; keys are made by the scripts, as one Redis holds them all."""
        try:
            return redis.evalsha(self.sha, 0, *arguments)
        except NoScriptError:
            return redis.eval(self.text, 0, *arguments)
