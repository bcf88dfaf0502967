"""The layer store, on the real one: versions grow with content, and each can be found."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from minio import Minio

from storage.configuration import Layer, LayerConfiguration
from storage.errors import LayerNotFound, UnreadableFunction
from storage.functions import FunctionStore
from storage.layers import LayerStore
from storage.settings import StorageSettings

BUCKET = "layers-under-test"


@pytest.fixture
def layers(storage: StorageSettings, store: Minio) -> Iterator[LayerStore]:
    """An empty layer store in a system bucket of the test's own."""
    settings = storage.model_copy(update={"system_bucket": BUCKET})
    FunctionStore(settings).prepare()
    yield LayerStore(settings)
    for each in store.list_objects(BUCKET, recursive=True, include_version=True):
        assert each.object_name is not None
        store.remove_object(BUCKET, each.object_name, version_id=each.version_id)
    store.remove_bucket(BUCKET)


def _layer(content: str, name: str = "fonts", **values: Any) -> LayerConfiguration:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return LayerConfiguration(name=name, code_sha256=content * 64, published_at=moment, **values)


def test_new_content_makes_a_new_version(layers: LayerStore) -> None:
    """Numbers grow from 1."""
    assert [layers.save(_layer(each)).version for each in "abc"] == [1, 2, 3]
    assert layers.load("fonts").code_sha256 == "c" * 64


def test_unchanged_content_makes_none(layers: LayerStore) -> None:
    """Whenever a template is deployed again."""
    first = layers.save(_layer("a", upload="1A"))

    assert layers.save(_layer("a", upload="1B")) == first
    layers.save(_layer("b", upload="1C"))
    assert layers.save(_layer("a", upload="1D")).version == 3


def test_an_older_upload_does_not_override_a_newer(layers: LayerStore) -> None:
    """Deployments may be carried out late, and again."""
    newer = layers.save(_layer("b", upload="2A"))

    assert layers.save(_layer("a", upload="1A")) == newer
    assert layers.save(_layer("a", upload="2a")) == newer


def test_a_reference_means_a_version_or_the_newest(layers: LayerStore) -> None:
    """Those before the newest stay to be found."""
    for each in "abc":
        layers.save(_layer(each, runtimes=("python3.11",)))
    layers.save(_layer("d", name="fonts-more"))

    assert layers.find("fonts") == Layer(name="fonts", version=3, code_sha256="c" * 64)
    assert layers.find("fonts:3") == layers.find("fonts")
    assert layers.find("fonts:1") == Layer(name="fonts", version=1, code_sha256="a" * 64)


def test_what_is_not_published_is_named(layers: LayerStore) -> None:
    """With what to do, or what there is."""
    layers.save(_layer("a"))

    with pytest.raises(LayerNotFound, match=r"no layer 'other' is published: `bucketwheel layer"):
        layers.find("other")
    with pytest.raises(LayerNotFound, match="layer 'fonts' has no version 2: its newest is 1"):
        layers.find("fonts:2")


def test_all_layers_are_listed_by_name(layers: LayerStore) -> None:
    """The newest version of each."""
    layers.save(_layer("a", name="z"))
    layers.save(_layer("a", name="a"))
    layers.save(_layer("b", name="a"))

    assert [(each.name, each.version) for each in layers.all()] == [("a", 2), ("z", 1)]


def test_a_layer_that_cannot_be_read_can_be_published_again(
    layers: LayerStore, store: Minio
) -> None:
    """No number of a version comes again."""
    layers.save(_layer("a"))
    store.put_object(BUCKET, "layers/fonts.json", io.BytesIO(b"{}"), 2)

    with pytest.raises(UnreadableFunction, match=r"fonts\.json is no layer configuration"):
        layers.find("fonts")
    assert layers.save(_layer("a")).version == 3
