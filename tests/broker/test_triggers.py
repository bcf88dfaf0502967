"""Trigger matching: by bucket, event, prefix and suffix, without a walk over all triggers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.triggers import TriggerIndex
from storage.configuration import Trigger

PUT = "ObjectCreated:Put"
_texts = st.text(alphabet="ab/.é\n", max_size=6)
_triggers = st.builds(
    Trigger,
    bucket=st.sampled_from(["one", "two"]),
    prefix=_texts,
    suffixes=st.lists(_texts, max_size=3).map(tuple),
)


def _naive(triggers: dict[str, list[Trigger]], bucket: str, event: str, key: str) -> list[str]:
    return sorted(
        name
        for name, each in triggers.items()
        if any(
            trigger.bucket == bucket
            and event in trigger.events
            and key.startswith(trigger.prefix)
            and any(key.endswith(suffix) for suffix in trigger.suffixes or ("",))
            for trigger in each
        )
    )


@given(
    triggers=st.dictionaries(
        st.sampled_from([f"f{n}" for n in range(8)]), st.lists(_triggers, max_size=4), max_size=8
    ),
    bucket=st.sampled_from(["one", "two", "three"]),
    key=st.text(alphabet="ab/.é\n", max_size=12),
)
def test_the_index_finds_what_a_walk_over_all_triggers_finds(
    triggers: dict[str, list[Trigger]], bucket: str, key: str
) -> None:
    """The index is an arrangement of the triggers, not another meaning of them."""
    found = TriggerIndex(triggers).match(bucket, PUT, key)

    assert found == _naive(triggers, bucket, PUT, key)


def test_a_function_with_two_matching_triggers_is_found_once() -> None:
    """One event leads to one invocation of a function."""
    both = [Trigger(bucket="one", prefix="in/"), Trigger(bucket="one", suffixes=(".jpg", "g"))]

    assert TriggerIndex({"crop": both}).match("one", PUT, "in/a.jpg") == ["crop"]


def test_tagging_is_not_a_write() -> None:
    """A function that tags its input must not call itself."""
    index = TriggerIndex({"crop": [Trigger(bucket="one")]})

    assert index.match("one", "ObjectCreated:PutTagging", "a.jpg") == []
