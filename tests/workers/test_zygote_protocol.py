"""Messages between the worker and what forks: they arrive as they were, and nothing else does."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.zygote_protocol import (
    MESSAGE,
    Alive,
    Capture,
    End,
    Ended,
    Exited,
    Fork,
    Forked,
    Lent,
    Message,
    Place,
    Program,
    Ready,
    Tmp,
    read,
    read_program,
    send,
    write_program,
)

NUMBERS = st.integers(-(2**63), 2**63)
PLACES = st.none() | st.builds(Place, NUMBERS, st.text(), st.text(), st.text(), NUMBERS)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Fork, NUMBERS, st.text(), PLACES, st.booleans()),
    st.builds(Capture, NUMBERS, st.text(), PLACES, NUMBERS),
    st.builds(Tmp, NUMBERS, NUMBERS, NUMBERS),
    st.builds(End, NUMBERS, NUMBERS, st.booleans()),
    st.builds(Alive),
    st.builds(Ready, st.text()),
    st.builds(Forked, NUMBERS, NUMBERS, st.text()),
    st.builds(Lent, NUMBERS, st.text()),
    st.builds(Exited, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Ended, NUMBERS, NUMBERS),
)
_TEXTS = st.dictionaries(st.text(), st.text())
PROGRAMS = st.builds(Program, _TEXTS, st.text(), st.text(), st.lists(st.text()))
_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(MESSAGES)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    """Through a real socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send(ours, message)
        assert read(theirs.recv(MESSAGE)) == message


@given(st.binary())
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """A snapshot runs a user's code, which may send anything."""
    with pytest.raises(ValueError, match="no message"):
        read(data)


@given(st.sampled_from(["Fork", "Exited", "Forked", "Ready", "Ended", "__class__"]), _JSON)
def test_a_message_of_other_fields_is_refused(kind: str, fields: Any) -> None:
    """Numbers are numbers, and nothing is missing."""
    fields = {**fields, "serial": "1"} if isinstance(fields, dict) else fields
    with pytest.raises(ValueError, match="no message"):
        read(json.dumps([kind, fields]).encode())


@pytest.mark.parametrize("data", [b"[" * 60_000, b'{"a":' * 10_000, b"1" * 60_000])
def test_deep_and_long_ones_are_refused(data: bytes) -> None:
    """Without exhausting anything."""
    with pytest.raises(ValueError, match="no message"):
        read(data)


@given(PROGRAMS)
def test_a_program_is_read_from_wherever_its_file_stands(program: Program) -> None:
    """Its descriptor is shared by parent and child, and so is the place of reading."""
    descriptor = write_program(program)
    try:
        assert read_program(descriptor) == program
        assert read_program(descriptor) == program
    finally:
        os.close(descriptor)
