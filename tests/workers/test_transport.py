"""What is in a function's queue: a message that Celery can take, or a reason why not."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual import Message

from broker import message
from workers.transport import read

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_parts = st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties", "x"])


class _Channel:
    """Decodes bodies as kombu's channel does."""

    def decode_body(self, body: str, encoding: str | None) -> Any:
        return base64.b64decode(body) if encoding == "base64" else body


def _good() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(message.render("crop", ["id"], "photos/in/a.jpg"))
    return found


def test_our_own_message_is_taken() -> None:
    """What intakes write is what workers read."""
    fault, found = read(orjson.dumps(_good()))

    assert fault == ""
    assert found["headers"]["task"] == "crop"


@given(st.binary(max_size=50))
def test_bytes_that_are_no_message_have_a_reason(rubbish: bytes) -> None:
    """Whatever was pushed, the worker goes on."""
    fault, found = read(rubbish)

    assert fault.startswith("a message")
    assert found == {}


@given(changes=st.dictionaries(_parts, _json, max_size=3))
def test_what_is_taken_can_be_made_a_message_by_kombu(changes: dict[str, Any]) -> None:
    """kombu raises whatever there is on another shape, and the worker would end."""
    fault, found = read(orjson.dumps({**_good(), **changes}))
    if not fault:
        made: Any = Message(found, channel=_Channel())

        assert made.delivery_tag
        assert made.headers["id"]


@pytest.mark.parametrize("part", ["body", "headers", "properties", "content-type"])
def test_a_message_without_a_part_is_told_by_its_name(part: str) -> None:
    """Who wrote it must learn what is missing."""
    found = _good()
    del found[part]

    assert part in read(orjson.dumps(found))[0]


def test_a_body_that_is_not_base64_is_refused() -> None:
    """A plain Celery client's body is base64."""
    found = _good()
    found["properties"]["body_encoding"] = "base64"
    found["body"] = "not base64: é"

    assert "base64" in read(orjson.dumps(found))[0]
