"""The example that counts words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st


def test_a_text_is_counted(word_count: ModuleType) -> None:
    """Lines, words and characters, and which words are common whatever their case."""
    text = b"The wheel turns.\nThe wheel - the WHEEL! - fills.\n"

    assert word_count.count([text]) == {
        "lines": 2,
        "words": 8,
        "characters": len(text),
        "common": {"the": 3, "wheel": 3, "turns": 1, "fills": 1},
    }


def test_an_empty_text_has_nothing(word_count: ModuleType) -> None:
    """An object without bytes is a text, too."""
    nothing = {"lines": 0, "words": 0, "characters": 0, "common": {}}

    assert word_count.count([]) == nothing


@given(
    text=st.text(alphabet="aéß€🙂 \n", max_size=40),
    cuts=st.lists(st.integers(0, 100), max_size=6),
)
def test_it_does_not_matter_where_a_text_is_cut(
    word_count: ModuleType, text: str, cuts: list[int]
) -> None:
    """Chunks end within words and within characters."""
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]
    words = Counter(text.casefold().split())

    found = word_count.count(chunks)

    assert (found["lines"], found["characters"]) == (text.count("\n"), len(text))
    assert found["words"] == words.total()
    assert Counter(found["common"]).total() == sum(n for _, n in words.most_common(10))


def test_bytes_that_are_no_utf_8_do_not_stop_it(word_count: ModuleType) -> None:
    """They are counted as a replacement character each; a byte order mark is not counted."""
    assert word_count.count([b"\xef\xbb\xbf", b"a \xff b"])["characters"] == 5


def test_memory_is_bounded(word_count: ModuleType) -> None:
    """Neither ever new words nor a word without end pile up, and a common word stays in view."""
    new_words = (f"the {n:x} the {n + 10**6:x} ".encode() for n in range(150_000))
    found = word_count.count(new_words)
    assert found["words"] == 600_000
    assert next(iter(found["common"].items())) == ("the", 300_000)

    endless = word_count.count(b"a" * 65_536 for _ in range(50))
    assert endless["words"] == 1
    assert len(next(iter(endless["common"]))) == 100
