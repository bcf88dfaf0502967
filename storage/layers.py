"""The layer store: which layers there are, in the system bucket.

layers/<name>.json     the newest version of a layer; those before it are in the bucket's history
code/<sha256>.zip      its files, kept as a function's package is: storage/functions.py
"""

from __future__ import annotations

from storage.client import connect
from storage.configuration import Layer, LayerConfiguration
from storage.documents import Documents
from storage.errors import LayerNotFound, UnreadableFunction
from storage.functions import is_newer
from storage.settings import StorageSettings


class LayerStore:
    """What layers are published."""

    def __init__(self, settings: StorageSettings) -> None:
        self._documents = Documents(
            connect(settings), settings.system_bucket, "layer", LayerConfiguration
        )

    def save(self, layer: LayerConfiguration) -> LayerConfiguration:
        """Keep a layer as its next version; returns it with its number.

        The same content as the newest version's makes no new one, nor does an older upload: the
        newest is returned.
        """
        newest = self._newest(layer.name)
        if newest is None:
            version = self._documents.last_number(layer.name) + 1
        elif layer.code_sha256 == newest.code_sha256 or not is_newer(layer.upload, newest.upload):
            return newest
        else:
            version = newest.version + 1
        saved = layer.model_copy(update={"version": version})
        self._documents.save(saved)
        return saved

    def find(self, reference: str) -> Layer:
        """The version that `name:2` means; the newest, for `name` alone.

        Raises:
            LayerNotFound: there is none.
            UnreadableFunction: the newest is not of the known shape.
        """
        name, _, version = reference.partition(":")
        newest = self.load(name)
        if not version or newest.version == int(version):
            return _layer(newest)
        for found in self._documents.versions(name):
            if found is not None and found.version == int(version):
                return _layer(found)
        raise LayerNotFound(
            f"layer {name!r} has no version {version}: its newest is {newest.version}"
        )

    def load(self, name: str) -> LayerConfiguration:
        """The newest version.

        Raises: as `find`.
        """
        found = self._documents.load(name)
        if found is None:
            raise LayerNotFound(
                f"no layer {name!r} is published: `bucketwheel layer publish {name} PATH` does it"
            )
        return found

    def all(self) -> list[LayerConfiguration]:
        """The newest version of each layer, in the order of their names."""
        return sorted(self._documents.all(), key=lambda each: each.name)

    def _newest(self, name: str) -> LayerConfiguration | None:
        try:
            return self._documents.load(name)
        except UnreadableFunction:
            return None


def _layer(found: LayerConfiguration) -> Layer:
    return Layer(name=found.name, version=found.version, code_sha256=found.code_sha256)
