"""Crop each photo that lands under `in/` of the bucket `photos`, and store it under `cropped/`.

The photo is cut around its centre to the aspect of CROP_WIDTH x CROP_HEIGHT and scaled down to
that size; a smaller one is only cut. It comes upright, and keeps its name, format, colours,
transparency, animation, resolution, EXIF with the place where it was taken, and the upload's own
metadata. Of the pictures in a TIFF or MPO file the first is taken, a BMP becomes a PNG, a TIFF is
stored uncompressed, colours for print become those of a screen; XMP, IPTC and thumbnails are left
out.

    CROP_WIDTH       pixels of the result                                        800
    CROP_HEIGHT                                                                  800
    CROP_QUALITY     of JPEG and WebP, up to 100                                 88
    CROP_MAX_BYTES   of an upload                                                100000000
    CROP_MAX_PIXELS  of a photo, or of all frames of an animation together       100000000
    CROP_MAX_FRAMES  of an animation                                             1000
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import islice
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_plus

import boto3
import PIL.TiffImagePlugin  # unless these two are there, Pillow imports all formats it knows
import PIL.WebPImagePlugin  # noqa: F401
from botocore.exceptions import ClientError
from PIL import Image, ImageSequence, JpegImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD, Base

from bucketwheel import function


class UnusablePhoto(Exception):
    """Raised when an upload cannot be cropped, however often it is tried."""


@dataclass(frozen=True)
class Cropped:
    """A cropped photo, as it is stored."""

    data: bytes
    content_type: str
    width: int
    height: int


@dataclass(frozen=True)
class Settings:
    """How photos are cropped, and how large they may be."""

    width: int = 800
    height: int = 800
    quality: int = 88
    max_bytes: int = 100_000_000
    max_pixels: int = 100_000_000
    max_frames: int = 1_000


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from CROP_ variables, or a ValueError with one line for each that is wrong."""
    asked: dict[str, int] = {}
    wrong: list[str] = []
    for setting in fields(Settings):
        variable = f"CROP_{setting.name.upper()}"
        text = environment.get(variable, str(setting.default))
        most = 100 if setting.name == "quality" else 10**9
        if text.isdecimal() and 1 <= int(text) <= most:
            asked[setting.name] = int(text)
        else:
            wrong.append(f"{variable} must be a whole number from 1 to {most:,}, not {text!r}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return Settings(**asked)


# -- the function ----------------------------------------------------------------------------------

SETTINGS: Final = read_settings(os.environ)
S3: Final = boto3.client("s3")
_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp")


@function(
    bucket="photos",
    prefix="in/",
    suffix=[*_ENDINGS, *map(str.upper, _ENDINGS)],  # cameras write IMG_0001.JPG
    memory=1024,
    timeout=60,
)
def crop(event: dict[str, Any], context: object) -> list[dict[str, Any]]:
    """Lambda handler: crop the photos that S3 tells of, and tell what was stored."""
    return [_crop_object(record["s3"]) for record in event["Records"]]


def _crop_object(s3: dict[str, Any]) -> dict[str, Any]:
    bucket, key = s3["bucket"]["name"], unquote_plus(s3["object"]["key"])
    target = "cropped/" + key.removeprefix("in/")
    try:
        data, headers = _get(bucket, key, s3["object"].get("versionId"))
        cropped = crop_image(data, SETTINGS)
    except UnusablePhoto as failure:
        raise UnusablePhoto(f"{bucket}/{key}: {failure}") from failure
    headers["ContentType"] = cropped.content_type
    S3.put_object(Bucket=bucket, Key=target, Body=cropped.data, **headers)
    size = {"width": cropped.width, "height": cropped.height, "bytes": len(cropped.data)}
    print(f"{bucket}/{key}, {len(data)} bytes, cropped to {target}: {size}")
    return {"key": target, **size}


def _get(bucket: str, key: str, version: str | None) -> tuple[bytes, dict[str, Any]]:
    """An object, and those of its headers that hold for its crop as well."""
    exactly = {"VersionId": version} if version else {}
    try:
        found = S3.get_object(Bucket=bucket, Key=key, **exactly)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion"):
            raise UnusablePhoto("it was deleted before it could be cropped") from error
        raise
    with closing(found["Body"]) as body:
        size, most = found["ContentLength"], SETTINGS.max_bytes
        if size > most:
            raise UnusablePhoto(f"it has {size:,} bytes, and {most:,} are allowed")
        data: bytes = body.read()
    lasting = ("CacheControl", "ContentDisposition", "ContentLanguage", "Metadata")
    return data, {name: found[name] for name in lasting if found.get(name)}


# -- the photo -------------------------------------------------------------------------------------

#: Nothing else is tried on what strangers send.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")

Image.MAX_IMAGE_PIXELS = SETTINGS.max_pixels  # some decoders reserve memory before they are asked


def crop_image(data: bytes, settings: Settings) -> Cropped:
    """Crop an encoded photo, or each frame of an encoded animation.

    Raises:
        UnusablePhoto: it is empty, of another format, truncated, broken or too large.
    """
    if not data:
        raise UnusablePhoto("it is empty")
    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
        _check_pixels(image.width * image.height, settings)
        orientation, exif = _exif(image)
        frames = [_cut(frame, orientation, settings) for frame in _frames(image, settings)]
        return _encode(image, frames, exif, settings.quality)
    except (UnusablePhoto, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnusablePhoto(f"it is none of {', '.join(_FORMATS)}, or broken") from error
    except Exception as error:  # a broken file makes decoders raise whatever there is
        raise UnusablePhoto(f"it is broken: {error}") from error


def _check_pixels(pixels: int, settings: Settings) -> None:
    if pixels > settings.max_pixels:
        raise UnusablePhoto(f"it has {pixels:,} pixels, and {settings.max_pixels:,} are allowed")


def _frames(image: Image.Image, settings: Settings) -> Iterator[Image.Image]:
    """The photo, or the frames of an animation, each as it is seen."""
    if image.format not in ("GIF", "PNG", "WEBP"):
        yield image
        return
    # A PNG may open with a picture for those who cannot show its animation.
    first = int(getattr(image, "default_image", False))
    number = pixels = 0
    for number, frame in enumerate(islice(ImageSequence.Iterator(image), first, None), start=1):
        if number > settings.max_frames:
            raise UnusablePhoto(f"it has more than {settings.max_frames:,} frames")
        pixels += frame.width * frame.height
        _check_pixels(pixels, settings)
        yield frame
    if first + number < getattr(image, "n_frames", 1):
        raise UnusablePhoto(f"it is broken: its animation ends after frame {number}")


#: What turns pixels upright, by EXIF's orientation.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _cut(image: Image.Image, orientation: int, settings: Settings) -> Image.Image:
    """The photo in the asked aspect, scaled down to the asked size if it is larger, and upright."""
    width, height = settings.width, settings.height
    turn = _TURNS.get(orientation)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    box_width = max(1, min(image.width, round(image.height * width / height)))
    box_height = max(1, min(image.height, round(image.width * height / width)))
    left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
    box = (left, top, left + box_width, top + box_height)
    cut = _scale(image, box, (min(width, box_width), min(height, box_height)))
    return cut if turn is None else cut.transpose(turn)  # last, when the fewest pixels are left


#: A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size in a fraction of the time, though scaled
#: less finely than by a filter. It is decoded this much larger than asked; a filter does the rest.
_LEFT_TO_FILTER: Final = 1.5
_Box: TypeAlias = tuple[int, int, int, int]


def _scale(image: Image.Image, box: _Box, size: tuple[int, int]) -> Image.Image:
    left, top, right, bottom = box
    if size == (right - left, bottom - top):
        return _averageable(image).crop(box)
    full, share = image.width, _LEFT_TO_FILTER * size[0] / (right - left)
    draft = image.draft(None, (math.ceil(full * share), math.ceil(image.height * share)))
    drawn = draft[1][2] / full if draft else 1.0  # a JPEG has a draft
    image = _averageable(image)
    # A quick first step where there is far to go; Pillow cannot take it in 16 bits.
    gap = None if image.mode.startswith("I;16") else 3.0
    part = (left * drawn, top * drawn, right * drawn, bottom * drawn)
    return image.resize(size, Image.Resampling.LANCZOS, part, gap)


def _averageable(image: Image.Image) -> Image.Image:
    """The photo in a mode where the mean of two pixels is a colour between them."""
    if image.mode == "CMYK":
        return _on_screen(image)
    if image.mode == "I;16B":  # which Pillow takes for I;16 when it scales
        return image.convert("I").convert("I;16")
    if image.mode[0] in "IF":  # integers and floats of more than 8 bits
        return image
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        mode += "A"
    return image if image.mode == mode else image.convert(mode)


def _on_screen(image: Image.Image) -> Image.Image:
    """Colours for print as a screen shows them, by the photo's profile if it has a sound one."""
    from PIL import ImageCms  # few photos need it

    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        srgb = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.buildTransform(profile, srgb, "CMYK", "RGB", intent, flags).apply(image)
    except (KeyError, OSError, ImageCms.PyCMSError):
        converted = image.convert("RGB")
        converted.info.pop("icc_profile", None)
        return converted


def _indexed(image: Image.Image) -> Image.Image:
    """The photo as a GIF can hold it: in 256 colours, or in 255 and full transparency."""
    if not image.has_transparency_data:
        return image.convert("RGB").quantize(256)
    indexed = image.convert("RGB").quantize(255)
    indexed.putpalette([*(indexed.getpalette() or ()), 0, 0, 0])
    indexed.paste(255, mask=image.getchannel("A").point(lambda alpha: 255 * (alpha < 128)))
    indexed.info["transparency"] = 255
    return indexed


# -- the file --------------------------------------------------------------------------------------

#: EXIF that tells of the photo, not of how its pixels were stored.
_LASTING: Final = frozenset(
    Base[name]
    for name in (
        *("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "HostComputer"),
        *("Copyright", "Rating", "XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject"),
        *("ExifOffset", "GPSInfo"),
    )
)


def _exif(image: Image.Image) -> tuple[int, bytes]:
    """How the photo lies, and its EXIF without what the crop makes untrue."""
    if image.format in ("PNG", "TIFF"):
        image.load()  # some PNGs have EXIF at their end, and Pillow turns a TIFF by itself, with it
    orientation = 1
    try:
        exif = image.getexif()
        orientation = exif.get(Base.Orientation, 1)
        camera = exif.get_ifd(IFD.Exif)
        for untrue in (Base.ExifImageWidth, Base.ExifImageHeight, IFD.Interop):
            camera.pop(untrue, None)
        for tag in set(exif) - _LASTING:
            del exif[tag]
        block = exif.tobytes() if exif else b""
    except Exception:  # much that is found there is no EXIF, which is no reason to refuse a photo
        block = b""
    return orientation, block if len(block) < 65_534 else b""  # what fits into a JPEG


def _encode(image: Image.Image, frames: list[Image.Image], exif: bytes, quality: int) -> Cropped:
    """Frames in the format of the image they come from, with what else was in its file."""
    file_format = {"MPO": "JPEG", "BMP": "PNG"}.get(str(image.format), str(image.format))
    info = dict(frames[0].info)
    options: dict[str, Any] = {"exif": exif, "icc_profile": info.get("icc_profile")}
    if "dpi" in info and min(info["dpi"]) > 0 and max(info["dpi"]) < 65_536:
        options["dpi"] = info["dpi"]
    if len(frames) > 1:
        options["duration"] = [frame.info.get("duration", 0) for frame in frames]
        options["loop"] = info.get("loop")
    for frame in frames:
        frame.info.clear()  # Pillow would store more of it than is said here
    if file_format == "JPEG":
        sampling = JpegImagePlugin.get_sampling(image)
        options |= {"quality": quality, "progressive": True, "subsampling": sampling}
    elif file_format == "WEBP":
        exif = exif.removeprefix(b"Exif\0\0")  # Pillow leaves an animation with it
        options |= {"quality": quality, "method": 4, "exif": exif}
    elif file_format == "GIF":
        frames = [_indexed(frame) for frame in frames]
        # Frames are whole pictures: none may show through the transparent parts of the next.
        options |= {"optimize": False, "disposal": 2 if any(each.info for each in frames) else 1}
    first, *others = frames
    known = {name: value for name, value in options.items() if value not in (None, b"")}
    result = BytesIO()
    first.save(result, file_format, save_all=bool(others), append_images=others, **known)
    return Cropped(result.getvalue(), Image.MIME[file_format], first.width, first.height)
