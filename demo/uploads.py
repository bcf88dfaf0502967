"""What is uploaded: the photographs, one of them stored lying, and a file that is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import ExifTags, Image

from demo.photos import Album, Photo

#: EXIF's word for "turn me clockwise by a quarter": how phones store what they took upright.
TURN_CLOCKWISE: Final = 6

CONTENT_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True, slots=True)
class Upload:
    """One file, and what is special about it."""

    file: str
    data: bytes
    photo: Photo
    lying: bool = False
    broken: bool = False

    @property
    def content_type(self) -> str:
        """The media type that goes with the file's ending."""
        return CONTENT_TYPES[self.file.rpartition(".")[2]]


def prepare(album: Album) -> list[Upload]:
    """Every photograph, and the broken file last."""
    lying = next(iter(_portraits(album)), album.source.photos[0])
    uploads = [
        Upload(photo.file, data, photo) if photo != lying else lay_down(photo, data)
        for photo, data in album.files.items()
    ]
    first = uploads[0]
    half = first.data[: len(first.data) // 2]
    return [*uploads, Upload("broken.jpg", half, first.photo, broken=True)]


def lay_down(photo: Photo, data: bytes) -> Upload:
    """The photograph as a phone stores it: its pixels lie on the side, and EXIF tells so."""
    with Image.open(BytesIO(data)) as image:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = TURN_CLOCKWISE
        result = BytesIO()
        lying = image.convert("RGB").transpose(Image.Transpose.ROTATE_90)
        lying.save(result, "JPEG", quality=92, exif=exif.tobytes())
    return Upload(f"{photo.name}.jpg", result.getvalue(), photo, lying=True)


def _portraits(album: Album) -> Iterator[Photo]:
    for photo, data in album.files.items():
        with Image.open(BytesIO(data)) as image:
            if image.height > image.width:
                yield photo
