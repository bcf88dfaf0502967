"""The contact sheet: every photograph beside its crop, as one picture.

The font is the one that comes with Pillow: it has no letters beyond ASCII, but `·`, `°` and `›`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from demo.crops import Crop, Size, centre, preview, size_of
from demo.photos import Photo, Source
from demo.uploads import Upload
from demo.words import weight

_PAPER: Final = (20, 22, 27)
_MAT: Final = (31, 34, 41)
_INK: Final = (240, 240, 237)
_PALE: Final = (152, 157, 167)
_ACCENT: Final = (244, 178, 92)

_COLUMNS: Final = 3
_MARGIN: Final = 72
_GAP: Final = Size(64, 52)
#: A photograph lies on a mat of this size; a crop has its height.
_BEFORE: Final = Size(400, 268)
_BETWEEN: Final = 52
_AFTER: Final = Size(268, 268)
_CAPTION: Final = 96
_CARD: Final = Size(_BEFORE.width + _BETWEEN + _AFTER.width, _BEFORE.height + _CAPTION)
_HEAD: Final = 190
_FOOT: Final = 116


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph as it was uploaded, and its crop."""

    upload: Upload
    crop: Crop


def draw(pairs: Sequence[Pair], asked: Size, source: Source) -> Image.Image:
    """The whole sheet."""
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    width = 2 * _MARGIN + columns * (_CARD.width + _GAP.width) - _GAP.width
    height = _HEAD + rows * (_CARD.height + _GAP.height) + _FOOT
    sheet = Image.new("RGB", (width, height), _PAPER)
    _draw_head(sheet, len(pairs), asked)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (_CARD.width + _GAP.width)
        sheet.paste(_card(pair, asked), (left, _HEAD + row * (_CARD.height + _GAP.height)))
    _draw_foot(sheet, source, [pair.upload.photo for pair in pairs])
    return sheet


def _draw_head(sheet: Image.Image, count: int, asked: Size) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 52), "Bucketwheel", _INK, _font(60))
    photographs = "photograph" if count == 1 else "photographs"
    subtitle = (
        f"{count} {photographs} put into photos/in/, and the middle of each, "
        f"{_by(asked)}, as the function left it in photos/cropped/"
    )
    pen.text((_MARGIN, 128), subtitle, _PALE, _font(26))


def _draw_foot(sheet: Image.Image, source: Source, photos: list[Photo]) -> None:
    licences = sorted({photo.licence for photo in photos}, key=lambda each: each.name)
    lines = [
        f"Photographs: {source.package}, cropped here; a crop has its photograph's licence.",
        "   ·   ".join(f"{each.name}: {each.url.removeprefix('https://')}" for each in licences),
    ]
    pen = ImageDraw.Draw(sheet)
    top = sheet.height - _FOOT
    pen.line((_MARGIN, top, sheet.width - _MARGIN, top), _MAT, 2)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, top + 24 + 30 * number), line, _PALE, _font(19))


# -- one pair --------------------------------------------------------------------------------------


def _card(pair: Pair, asked: Size) -> Image.Image:
    card = Image.new("RGB", _CARD, _PAPER)
    pen = ImageDraw.Draw(card)
    pen.rectangle((0, 0, _BEFORE.width - 1, _BEFORE.height - 1), _MAT)
    _paste_centred(card, _before(pair.upload, asked), 0, _BEFORE)
    middle = (_BEFORE.width + _BETWEEN // 2, _BEFORE.height // 2)
    pen.text(middle, "›", _ACCENT, _font(56), anchor="mm")
    after = preview(pair.crop.data, upright=True)
    after.thumbnail(_AFTER, Image.Resampling.LANCZOS)
    _paste_centred(card, after, _BEFORE.width + _BETWEEN, _AFTER)
    _draw_captions(pen, pair)
    return card


def _before(upload: Upload, asked: Size) -> Image.Image:
    """The photograph as it is stored; what is cut off is in the dark."""
    photo = preview(upload.data)
    photo.thumbnail(_BEFORE, Image.Resampling.LANCZOS)
    aspect = Size(asked.height, asked.width) if upload.lying else asked
    left, top, right, bottom = centre(Size(*photo.size), aspect)
    result = ImageEnhance.Brightness(photo).enhance(0.38)
    result.paste(photo.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(result).rectangle((left, top, right - 1, bottom - 1), outline=_INK, width=2)
    return result


def _paste_centred(card: Image.Image, picture: Image.Image, left: int, room: Size) -> None:
    right, down = (room.width - picture.width) // 2, (room.height - picture.height) // 2
    card.paste(picture, (left + right, down))


def _draw_captions(pen: ImageDraw.ImageDraw, pair: Pair) -> None:
    upload, photo = pair.upload, pair.upload.photo
    right, top = _BEFORE.width + _BETWEEN, _BEFORE.height + 10
    pen.text((0, top), photo.name, _INK, _font(26))
    if upload.lying:
        beside = round(pen.textlength(photo.name, _font(26))) + 14
        pen.text((beside, top + 4), "stored lying, turned by its EXIF", _ACCENT, _font(20))
    before = f"{_by(size_of(upload.data))} · {weight(upload.data)}"
    pen.text((0, top + 34), before, _PALE, _font(20))
    pen.text((0, top + 60), f"{photo.author} · {photo.licence.name}", _PALE, _font(20))
    pen.text((right, top), _by(size_of(pair.crop.data)), _INK, _font(26))
    pen.text((right, top + 34), weight(pair.crop.data), _PALE, _font(20))


def _by(size: Size) -> str:
    return f"{size.width} x {size.height}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
