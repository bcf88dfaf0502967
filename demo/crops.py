"""Crops as they come back, each compared with the photograph it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Final, NamedTuple, Self

from PIL import Image, ImageChops, ImageOps, ImageStat

from demo.errors import WrongCrop
from demo.uploads import Upload
from demo.words import by

#: Crop and photograph are compared at this size, where noise and compression hardly tell.
_COMPARED: Final = (48, 48)
#: Their mean difference, of 255. Right crops stay at 1 or below; a tenth of the way from the middle
#: to the edge is above 3 already.
_ALIKE: Final = 2.0
#: Standard deviation of brightness: below it, a picture is of one colour.
_FLAT: Final = 2.0


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Crop:
    """What the function stored for an upload."""

    data: bytes
    content_type: str


def size_of(data: bytes) -> Size:
    """Width and height of an encoded picture, as its pixels are stored."""
    with Image.open(BytesIO(data)) as image:
        return Size(*image.size)


def centre(size: Size, aspect: Size) -> tuple[int, int, int, int]:
    """The largest box of that aspect around the centre: left, top, right, bottom."""
    width = min(size.width, round(size.height * aspect.width / aspect.height))
    height = min(size.height, round(size.width * aspect.height / aspect.width))
    left, top = (size.width - width) // 2, (size.height - height) // 2
    return left, top, left + width, top + height


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the crop of an upload must be like."""

    file: str
    content_type: str
    size: Size
    picture: Image.Image

    @classmethod
    def of(cls, upload: Upload, asked: Size) -> Self:
        """The middle of the photograph, upright; one that is smaller than asked is only cut."""
        stored = size_of(upload.data)
        upright = Size(stored.height, stored.width) if upload.lying else stored
        left, top, right, bottom = centre(upright, asked)
        size = Size(min(asked.width, right - left), min(asked.height, bottom - top))
        photo = preview(upload.data, upright=True)
        middle = photo.crop(centre(Size(*photo.size), asked))
        return cls(upload.file, upload.content_type, size, middle)

    def check(self, crop: Crop) -> None:
        """Pass only the crop that is meant.

        Raises:
            WrongCrop: it cannot be decoded, or is of another type, size or content.
        """
        try:
            with Image.open(BytesIO(crop.data)) as image:
                picture = ImageOps.exif_transpose(image).convert("RGB")
        except OSError as error:
            raise self._wrong(f"cannot be decoded: {error}") from None
        size = Size(*picture.size)
        if crop.content_type != self.content_type:
            raise self._wrong(f"is {crop.content_type}, not {self.content_type}")
        if size != self.size:
            raise self._wrong(f"has {by(size)} pixels, not {by(self.size)}")
        if max(ImageStat.Stat(picture).stddev) < _FLAT:
            raise self._wrong("is all of one colour")
        if _difference(self.picture, picture) > _ALIKE:
            raise self._wrong("does not show the middle of its photograph")

    def _wrong(self, why: str) -> WrongCrop:
        return WrongCrop(f"the crop of {self.file} {why}")


def preview(data: bytes, upright: bool = False, most: int = 1_000) -> Image.Image:
    """A picture in small, as its pixels are stored, or upright."""
    with Image.open(BytesIO(data)) as image:
        image.thumbnail((most, most), reducing_gap=2.0)
        return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")


def _difference(one: Image.Image, other: Image.Image) -> float:
    small = [each.resize(_COMPARED, Image.Resampling.BOX) for each in (one, other)]
    means = ImageStat.Stat(ImageChops.difference(*small)).mean
    return sum(means) / len(means)
