"""The example that crops photos: what people expect of it, on pictures made here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageSequence, ImageStat
from PIL.ExifTags import GPS, IFD, Base

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CLEAR = (0, 0, 0, 0)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF")
TYPES = {name: f"image/{name.lower()}" for name in FORMATS}


def quarters(width: int, height: int) -> Image.Image:
    """Red at the top left, green at the top right, blue below, white at the bottom right."""
    image = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), RED)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    return image


def ramp(mode: str, width: int, height: int) -> Image.Image:
    """From dark at the left to light at the right, through every depth of 16 bits."""
    row = struct.pack(f"<{width}H", *(65_535 * x // (width - 1) for x in range(width)))
    deep = Image.frombytes("I;16", (width, height), row * height)
    if mode.startswith("I;16"):
        return Image.frombytes(mode, deep.size, deep.tobytes("raw", mode))
    wide = deep.convert("I")
    return wide if mode == "I" else wide.point(lambda v: v * (1 / 257)).convert("L").convert(mode)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The image as a file."""
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """A file as an image, with everything decoded."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """The colour and opacity at a place."""
    found = image.convert("RGBA").getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def near(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a colour is the expected one as far as lossy formats go; clear is clear."""
    if found[3] == expected[3] == 0:
        return True
    return all(abs(a - b) < 12 for a, b in zip(found, expected, strict=True))


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours near the corners, clockwise from the top left, each to the nearest pure one."""
    right, bottom = image.width - 3, image.height - 3
    found = [pixel(image, *at) for at in ((2, 2), (right, 2), (right, bottom), (2, bottom))]
    return [tuple(255 * (band > 127) for band in each[:3]) for each in found]


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two images of one size, per band, of 255."""
    bands = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return max(bands)


# -- size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_photo_fills_the_asked_size_in_its_own_format(
    photo_crop: ModuleType, file_format: str
) -> None:
    """Whatever the aspect of the upload, and the content type is that of what is stored."""
    for size in ((1200, 900), (900, 1200), (3000, 400)):
        settings = photo_crop.Settings(width=320, height=180)
        cropped = photo_crop.crop_image(encoded(quarters(*size), file_format), settings)
        image = opened(cropped.data)

        assert (cropped.width, cropped.height) == image.size == (320, 180)
        assert (image.format, cropped.content_type) == (file_format, TYPES[file_format])
        assert corners(image) == [RED, GREEN, WHITE, BLUE]


@given(size=st.tuples(*[st.integers(1, 200)] * 2), asked=st.tuples(*[st.integers(1, 200)] * 2))
@hypothesis_settings(deadline=None)
@example(size=(1, 200), asked=(200, 1))
@example(size=(1, 999), asked=(1, 1000))
def test_a_photo_is_never_scaled_up(
    photo_crop: ModuleType, size: tuple[int, int], asked: tuple[int, int]
) -> None:
    """What is smaller than asked is cut to the asked aspect, as exactly as whole pixels can be."""
    settings = photo_crop.Settings(width=asked[0], height=asked[1])
    cropped = photo_crop.crop_image(encoded(Image.new("L", size), "PNG"), settings)
    aspect = asked[0] / asked[1]

    assert cropped.width <= min(size[0], asked[0])
    assert cropped.height <= min(size[1], asked[1])
    assert cropped.width in (asked[0], size[0]) or cropped.height in (asked[1], size[1])
    assert cropped.width == max(1, round(cropped.height * aspect)) or cropped.height == max(
        1, round(cropped.width / aspect)
    )


def test_the_centre_is_kept(photo_crop: ModuleType) -> None:
    """What is cut off is as much on one side as on the other."""
    image = Image.new("RGB", (900, 300), RED)
    image.paste(BLUE, (300, 0, 600, 300))
    for side in (300, 150):  # cut alone, and scaled as well
        cropped = photo_crop.crop_image(
            encoded(image, "PNG"), photo_crop.Settings(width=side, height=side)
        )
        middle = opened(cropped.data).crop((4, 0, side - 4, side))

        assert middle.getcolors() == [((side - 8) * side, BLUE)]


def test_a_cut_alone_changes_no_pixel(photo_crop: ModuleType) -> None:
    """A photo that needs no scaling is not blurred."""
    image = Image.effect_noise((301, 211), 90)
    cropped = photo_crop.crop_image(encoded(image, "PNG"), photo_crop.Settings())

    assert opened(cropped.data).tobytes() == image.crop((45, 0, 256, 211)).tobytes()


@pytest.mark.parametrize("side", [760, 700, 500, 400, 380, 200, 100])
def test_a_jpeg_decoded_small_looks_as_if_decoded_whole(photo_crop: ModuleType, side: int) -> None:
    """The quick way must not be seen: no detail is lost, nothing is shifted."""
    fine = Image.effect_mandelbrot((1521, 1521), (-2, -1.2, 0.4, 1.2), 100)
    data = encoded(fine, "JPEG", quality=95)
    settings = photo_crop.Settings(width=side, height=side, quality=100)
    slow = opened(data).resize((side, side), Image.Resampling.LANCZOS)

    assert difference(opened(photo_crop.crop_image(data, settings).data), slow) < 2


# -- orientation and metadata ----------------------------------------------------------------------


def exif(**base: Any) -> bytes:
    """The EXIF of a camera that knows where it is, with its thumbnail's place left empty."""
    block = Image.Exif()
    for name, value in base.items():
        block[Base[name]] = value
    block[IFD.Exif] = {
        Base.ExifImageWidth: 4000,
        Base.ExifImageHeight: 3000,
        Base.DateTimeOriginal: "2024:05:06 07:08:09",
    }
    block[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 51.0, 29.5)}
    return block.tobytes()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("asked", [(80, 60), (60, 80), (2000, 1000)])
def test_a_photo_comes_upright(
    photo_crop: ModuleType, file_format: str, orientation: int, asked: tuple[int, int]
) -> None:
    """However the camera was held, and nothing is left that would turn it again."""
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # from upright to as the camera stored it
    upright = quarters(640, 480)
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    data = encoded(stored, file_format, exif=exif(Orientation=orientation))
    settings = photo_crop.Settings(width=asked[0], height=asked[1])

    image = opened(photo_crop.crop_image(data, settings).data)

    assert image.size == (asked if asked[0] < 640 else (640, 320))
    assert corners(image) == [RED, GREEN, WHITE, BLUE]
    assert Base.Orientation not in image.getexif()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_is_kept_as_far_as_it_still_holds(photo_crop: ModuleType, file_format: str) -> None:
    """Who, when and where stay; the size the photo had does not."""
    block = exif(Orientation=6, Artist="Jo", Model="Box", StripOffsets=9, SamplesPerPixel=7)
    data = encoded(quarters(300, 200), file_format, exif=block)

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)
    found = image.getexif()

    assert (found[Base.Artist], found[Base.Model]) == ("Jo", "Box")
    assert found.get_ifd(IFD.Exif) == {Base.DateTimeOriginal: "2024:05:06 07:08:09"}
    assert found.get_ifd(IFD.GPSInfo)[GPS.GPSLatitude] == (48.0, 51.0, 29.5)


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]
)
def test_every_common_tiff_can_be_cropped(photo_crop: ModuleType, compression: str) -> None:
    """With its tags, but not with those that say how its own pixels were stored."""
    image = quarters(300, 200)
    tags = Image.Exif()
    tags[Base.Artist] = "Jo"
    data = encoded(image, "TIFF", exif=tags, compression=compression)

    found = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)

    assert corners(found) == [RED, GREEN, WHITE, BLUE]
    assert found.getexif()[Base.Artist] == "Jo"


def test_no_thumbnail_of_the_uncropped_photo_is_left(photo_crop: ModuleType) -> None:
    """It would show what was cut off."""
    main = b"\x01\x00" + struct.pack("<HHI4s", Base.Make, 2, 3, b"Box\0") + struct.pack("<I", 26)
    place = struct.pack("<HHII", Base.JpegIFOffset, 4, 1, 56)
    length = struct.pack("<HHII", Base.JpegIFByteCount, 4, 1, 9)
    block = (
        b"Exif\0\0II*\0\x08\0\0\0" + main + b"\x02\x00" + place + length + bytes(4) + b"THUMBNAIL"
    )
    data = encoded(quarters(300, 200), "JPEG", exif=block)
    assert b"THUMBNAIL" in data

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert opened(cropped.data).getexif()[Base.Make] == "Box"
    assert b"THUMBNAIL" not in cropped.data


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(rubbish=st.binary(max_size=60))
@hypothesis_settings(deadline=None)
@example(rubbish=b"II*\0\x08\0\0\0" + b"\xff" * 20)
@example(rubbish=b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02up\0\0\0\0\0\0")
def test_broken_exif_does_not_spoil_a_photo(photo_crop: ModuleType, rubbish: bytes) -> None:
    """Cameras and editors write much that is no EXIF."""
    data = encoded(quarters(60, 40), "JPEG", exif=b"Exif\0\0" + rubbish)

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=20, height=20))

    assert opened(cropped.data).size == (20, 20)


def test_exif_that_no_jpeg_can_hold_is_left_out(photo_crop: ModuleType) -> None:
    """A PNG may carry more of it than is reasonable."""
    data = encoded(quarters(60, 40), "PNG", exif=exif(ImageDescription="x" * 70_000))

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=20, height=20))

    assert not opened(cropped.data).getexif()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_the_resolution_is_kept(photo_crop: ModuleType, file_format: str) -> None:
    """As dots per inch."""
    data = encoded(quarters(300, 200), file_format, dpi=(240, 240))
    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert opened(cropped.data).info["dpi"] == pytest.approx((240, 240), abs=0.1)


def test_an_impossible_resolution_is_left_out(photo_crop: ModuleType) -> None:
    """It must not keep a photo from being stored."""
    block = Image.Exif()
    block[Base.XResolution] = block[Base.YResolution] = 4e9
    data = encoded(quarters(300, 200), "JPEG", exif=block.tobytes(), dpi=(0, 0))

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert opened(cropped.data).size == (90, 90)


# -- colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_colour_profile_is_kept(photo_crop: ModuleType, file_format: str) -> None:
    """The numbers of the pixels mean nothing without it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(quarters(300, 200), file_format, icc_profile=profile)

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert opened(cropped.data).info["icc_profile"] == profile


def print_profile() -> bytes:
    """The profile of a press whose cyan ink is black, and whose other inks cannot be seen."""
    inks = bytes(range(256)) * 4
    grid = b"".join(
        bytes((0 if corner & 8 else 255, 128, 128)) for corner in range(16)
    )  # corner bits: cyan, magenta, yellow, black
    identity = struct.pack(">9i", *(65_536 * (place in (0, 4, 8)) for place in range(9)))
    table = b"mft1\0\0\0\0\x04\x03\x02\0" + identity + inks + grid + bytes(range(256)) * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63_190, 65_536, 54_061)
    tags = {b"A2B0": table, b"A2B1": table, b"wtpt": white}
    body, index, place = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        index += name + struct.pack(">2I", place + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s44xI3i", place + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK",
        b"Lab ", bytes(12), b"acsp", 0, 63_190, 65_536, 54_061,
    )  # fmt: skip
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_print_colours_go_to_the_screen_through_their_profile(
    photo_crop: ModuleType, file_format: str
) -> None:
    """This one says that cyan ink is black: only who reads it finds a dark gray there."""
    cyan = Image.new("CMYK", (300, 200), (255, 0, 0, 0))
    data = encoded(cyan, file_format, icc_profile=print_profile(), **lossless(file_format))

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)
    profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))

    assert image.mode == "RGB"
    assert max(ImageStat.Stat(image).mean) < 40
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def lossless(file_format: str) -> dict[str, Any]:
    """Options by which a flat colour stays what it is."""
    return {"quality": 100} if file_format == "JPEG" else {}


@pytest.mark.parametrize("profile", [None, b"no profile at all", "sRGB"])
def test_print_colours_without_a_sound_profile_are_converted_plainly(
    photo_crop: ModuleType, profile: bytes | str | None
) -> None:
    """Paper is white and cyan is cyan, and a profile that no longer holds is not stored."""
    if profile == "sRGB":  # of another kind of colours
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("CMYK", (300, 200))
    image.paste((255, 0, 0, 0), (150, 0, 300, 200))
    data = encoded(image, "JPEG", quality=100, icc_profile=profile)

    found = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)

    assert found.mode == "RGB"
    assert corners(found) == [WHITE, (0, 255, 255), (0, 255, 255), WHITE]
    assert "icc_profile" not in found.info


@pytest.mark.parametrize(
    ("mode", "file_format", "kept"),
    [
        ("L", "JPEG", "L"),
        ("L", "PNG", "L"),
        ("L", "TIFF", "L"),
        ("LA", "PNG", "LA"),
        ("LA", "TIFF", "LA"),
        ("P", "PNG", "RGB"),
        ("P", "TIFF", "RGB"),
        ("RGB", "PNG", "RGB"),
        ("RGBA", "PNG", "RGBA"),
        ("RGBA", "TIFF", "RGBA"),
        ("YCbCr", "TIFF", "RGB"),
        ("CMYK", "TIFF", "RGB"),
        ("I;16", "PNG", "I;16"),
        ("I;16", "TIFF", "I;16"),
        ("I;16B", "TIFF", "I;16"),
        ("I", "TIFF", "I"),
    ],
)
@pytest.mark.parametrize("side", [50, 500])
def test_every_mode_is_kept_or_becomes_the_nearest_that_can_be_scaled(
    photo_crop: ModuleType, mode: str, file_format: str, kept: str, side: int
) -> None:
    """Scaled or cut alone, what goes from dark to light still does."""
    data = encoded(ramp(mode, 257, 257), file_format)
    assert Image.open(BytesIO(data)).mode in (mode, kept)

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=side, height=side)).data)
    middle = image.height // 2
    deep = image.mode.startswith("I")
    row = [
        image.getpixel((x, middle)) if deep else image.convert("L").getpixel((x, middle))
        for x in range(image.width)
    ]
    most, count = (65_535 if deep else 255), min(side, 257)
    right = [most * (x + 0.5) / count for x in range(count)]

    assert image.mode == kept
    assert row == pytest.approx(right, abs=0.02 * most)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("side", [100, 1000])
def test_single_bits_become_gray(photo_crop: ModuleType, file_format: str, side: int) -> None:
    """A scanned page stays readable: scaled bits would drop lines."""
    image = Image.new("1", (400, 400))
    for x in range(0, 400, 2):
        image.paste(1, (x, 0, x + 1, 400))
    settings = photo_crop.Settings(width=side, height=side)

    found = opened(photo_crop.crop_image(encoded(image, file_format), settings).data)

    assert found.mode == "L"
    assert ImageStat.Stat(found).mean[0] == pytest.approx(127.5, abs=3)


def test_16_bits_a_colour_become_8_and_not_white(photo_crop: ModuleType) -> None:
    """Pillow has no mode for them; they are scaled, not clipped."""
    half = struct.pack(">3H", 0x8000, 0x8000, 0x8000)
    rows = (b"\0" + half * 40) * 40
    data = png_chunk(b"IHDR", struct.pack(">2I5B", 40, 40, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + data + png_chunk(b"IDAT", zlib.compress(rows))

    cropped = photo_crop.crop_image(
        data + png_chunk(b"IEND", b""), photo_crop.Settings(width=20, height=20)
    )

    assert opened(cropped.data).getcolors() == [(400, (128, 128, 128))]


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# -- transparency ----------------------------------------------------------------------------------


def islands(mode: str) -> Image.Image:
    """A red disc on transparent green, which must never shine through."""
    image = Image.new("RGBA", (400, 400), (*GREEN, 0))
    ImageDraw.Draw(image).ellipse((100, 100, 300, 300), (*RED, 255))
    return image.convert(mode)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("side", [100, 1000])
def test_what_is_transparent_stays_so(photo_crop: ModuleType, file_format: str, side: int) -> None:
    """And what lies between is a mix of what can be seen, never of what was hidden."""
    data = encoded(islands("RGBA"), file_format)

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=side, height=side)).data)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image.convert("RGBA"))
    red, green, _, _ = on_white.split()

    assert near(pixel(image, 2, 2), CLEAR)
    assert near(pixel(image, image.width // 2, image.height // 2), (*RED, 255))
    assert sum(ImageChops.subtract(green, red).histogram()[30:]) == 0


def keyed(mode: str) -> bytes:
    """A PNG with a square that is transparent by its colour or its number."""
    image = Image.new("RGB", (400, 400), RED)
    image.paste(BLUE, (100, 100, 300, 300))
    if mode == "L":
        return encoded(image.convert("L"), "PNG", transparency=29)  # the gray of blue
    if mode == "RGB":
        return encoded(image, "PNG", transparency=BLUE)
    indexed = image.quantize(2)
    blue = indexed.getpixel((200, 200))
    assert isinstance(blue, int)
    if mode == "P":
        return encoded(indexed, "PNG", transparency=blue)
    half = bytes(0 if number == blue else 128 for number in range(2))
    return encoded(indexed, "PNG", transparency=half)


@pytest.mark.parametrize(
    ("mode", "kept", "opaque"),
    [("L", "LA", 255), ("RGB", "RGBA", 255), ("P", "RGBA", 255), ("P half", "RGBA", 128)],
)
def test_transparent_colours_become_an_alpha_channel(
    photo_crop: ModuleType, mode: str, kept: str, opaque: int
) -> None:
    """A single colour cannot be transparent any longer once colours are mixed."""
    cropped = photo_crop.crop_image(keyed(mode), photo_crop.Settings(width=100, height=100))
    image = opened(cropped.data)
    alpha = image.getchannel("A")

    assert image.mode == kept
    assert (alpha.getpixel((50, 50)), alpha.getpixel((5, 5))) == (0, opaque)


# -- animations ------------------------------------------------------------------------------------

DURATIONS = [50, 120, 200, 90]


def hops(background: tuple[int, ...]) -> list[Image.Image]:
    """A red square that goes from left to right in four steps, within a frame of blue."""
    frames = [Image.new("RGBA", (400, 400), BLUE) for _ in DURATIONS]
    for number, frame in enumerate(frames):
        frame.paste(background, (8, 8, 392, 392))
        frame.paste((*RED, 255), (number * 100, 150, number * 100 + 100, 250))
    return frames


def animation(frames: list[Image.Image], file_format: str, **options: Any) -> bytes:
    """The frames as a file."""
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("background", [(*WHITE, 255), CLEAR])
@pytest.mark.parametrize("side", [100, 1000])
def test_an_animation_stays_one(
    photo_crop: ModuleType, file_format: str, background: tuple[int, ...], side: int
) -> None:
    """Each frame, how long it is shown and how often all of them are."""
    options = {"disposal": 2} if file_format == "GIF" else {}
    data = animation(hops(background), file_format, duration=DURATIONS, loop=3, **options)

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=side, height=side))
    image = Image.open(BytesIO(cropped.data))
    step = min(side, 400) // 4

    shown = []
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        frame.load()
        shown.append(frame.info["duration"])
        for place in range(4):
            found = pixel(frame, place * step + step // 2, 2 * step)
            assert near(found, (*RED, 255) if place == number else background)
    assert shown == DURATIONS
    assert image.info["loop"] == 3
    assert (image.format, cropped.content_type) == (file_format, TYPES[file_format])


def test_a_gif_that_plays_once_still_does(photo_crop: ModuleType) -> None:
    """Without a count of loops there is none."""
    data = animation(hops((*WHITE, 255)), "GIF", duration=100)

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=100, height=100))

    assert "loop" not in Image.open(BytesIO(cropped.data)).info


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_a_gif_is_cropped_as_it_is_seen(photo_crop: ModuleType, disposal: int) -> None:
    """Its frames may be parts, laid over what was there before, or over what was before that."""
    data = animation(hops((*WHITE, 255)), "GIF", duration=DURATIONS, disposal=disposal)
    before = [frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(BytesIO(data)))]

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=100, height=100))
    after = [
        frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(BytesIO(cropped.data)))
    ]

    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert difference(old.resize((100, 100), Image.Resampling.LANCZOS), new) < 1


def test_the_still_picture_of_an_animated_png_is_no_frame(photo_crop: ModuleType) -> None:
    """Only who cannot show the animation sees it."""
    still = Image.new("RGBA", (400, 400), BLUE)
    data = animation([still, *hops((*WHITE, 255))], "PNG", duration=DURATIONS, default_image=True)

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=100, height=100))
    image = Image.open(BytesIO(cropped.data))

    assert getattr(image, "n_frames", 1) == 4
    assert near(pixel(image, 12, 50), (*RED, 255))


def test_an_animated_webp_keeps_exif_and_profile(photo_crop: ModuleType) -> None:
    """As a still one does, in the form that its format asks for."""
    data = animation(hops(CLEAR), "WEBP", exif=exif(Artist="Jo"), icc_profile=b"a profile")

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=100, height=100))
    image = opened(cropped.data)

    assert image.getexif()[Base.Artist] == "Jo"
    assert image.info["icc_profile"] == b"a profile"
    assert not image.info["exif"].startswith(b"Exif")


# -- files with several pictures -------------------------------------------------------------------


def test_of_a_camera_s_pair_of_pictures_the_first_is_taken(photo_crop: ModuleType) -> None:
    """An MPO file is a JPEG with more behind it: what is stored is a JPEG."""
    data = animation([quarters(400, 300), Image.new("RGB", (400, 300))], "MPO")
    assert Image.open(BytesIO(data)).format == "MPO"

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert (opened(cropped.data).format, cropped.content_type) == ("JPEG", "image/jpeg")
    assert corners(opened(cropped.data)) == [RED, GREEN, WHITE, BLUE]


def test_of_a_tiff_s_pages_the_first_is_taken(photo_crop: ModuleType) -> None:
    """Further pages are no photo of the same size."""
    data = animation([quarters(400, 300), Image.new("RGB", (900, 900))], "TIFF")

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)

    assert getattr(image, "n_frames", 1) == 1
    assert corners(image) == [RED, GREEN, WHITE, BLUE]


def test_a_bmp_becomes_a_png(photo_crop: ModuleType) -> None:
    """Nobody wants to download it otherwise."""
    data = encoded(quarters(400, 300), "BMP")

    cropped = photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90))

    assert (opened(cropped.data).format, cropped.content_type) == ("PNG", "image/png")


# -- how it is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_is_stored_progressively_with_its_own_subsampling(
    photo_crop: ModuleType, subsampling: int
) -> None:
    """Fine coloured detail that the upload has is not thrown away."""
    from PIL.JpegImagePlugin import get_sampling

    data = encoded(quarters(300, 200), "JPEG", subsampling=subsampling)

    image = opened(photo_crop.crop_image(data, photo_crop.Settings(width=90, height=90)).data)

    assert get_sampling(image) == subsampling
    assert image.info["progressive"]


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_quality_can_be_set(photo_crop: ModuleType, file_format: str) -> None:
    """Less of it takes fewer bytes."""
    data = encoded(Image.effect_noise((300, 300), 60).convert("RGB"), file_format)
    sizes = [
        len(photo_crop.crop_image(data, photo_crop.Settings(quality=quality)).data)
        for quality in (20, 60, 88, 100)
    ]

    assert sizes == sorted(sizes) and sizes[0] * 2 < sizes[-1]


# -- what is refused -------------------------------------------------------------------------------


def refused(photo_crop: ModuleType, data: bytes, why: str, **settings: int) -> None:
    """The photo is refused, and the message says why."""
    with pytest.raises(photo_crop.UnusablePhoto, match=why):
        photo_crop.crop_image(data, photo_crop.Settings(**settings))


def test_an_empty_photo_is_refused(photo_crop: ModuleType) -> None:
    """There is nothing to crop."""
    refused(photo_crop, b"", "it is empty")


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>404 Not Found</body></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"P6 1 1 255 \0\0\0",
        encoded(quarters(9, 9), "ICO", sizes=[(9, 9)]),
        encoded(quarters(9, 9), "TGA"),
    ],
)
def test_other_formats_are_refused(photo_crop: ModuleType, data: bytes) -> None:
    """Whatever the name says, and also where Pillow could read them."""
    refused(photo_crop, data, "it is none of JPEG, PNG, WEBP, GIF, TIFF, BMP, or broken")


@pytest.mark.parametrize("file_format", [*FORMATS, "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_photo_is_refused(
    photo_crop: ModuleType, file_format: str, share: float
) -> None:
    """Half a photo is not stored as if it were whole."""
    data = encoded(Image.effect_noise((300, 200), 90).convert("RGB"), file_format)

    refused(photo_crop, data[: int(len(data) * share)], "broken")


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_a_truncated_animation_is_refused(photo_crop: ModuleType, file_format: str) -> None:
    """It is not cut short without a word."""
    frames = [Image.effect_noise((90, 90), 90).convert("RGB") for _ in range(4)]
    data = animation(frames, file_format, duration=100)

    refused(photo_crop, data[: int(len(data) * 0.6)], "broken")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that say they are 50,000 pixels wide and high."""
    side = 50_000
    header = png_chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0))
    yield (
        "PNG",
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b""),
    )
    gif = bytearray(encoded(Image.new("P", (9, 9)), "GIF"))
    gif[6:10] = struct.pack("<2H", side, side)
    yield "GIF", bytes(gif)
    jpeg = bytearray(encoded(Image.new("RGB", (9, 9)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">2H", side, side)
    yield "JPEG", bytes(jpeg)
    bmp = bytearray(encoded(Image.new("RGB", (9, 9)), "BMP"))
    bmp[18:26] = struct.pack("<2i", side, side)
    yield "BMP", bytes(bmp)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in bombs()])
def test_a_bomb_is_refused_by_its_header(photo_crop: ModuleType, data: bytes) -> None:
    """Nothing of that size is ever decoded."""
    refused(photo_crop, data, r"2,?500,?000,?000 pixels")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("file_format", [*FORMATS, "BMP"])
def test_the_limit_of_pixels_is_exact(photo_crop: ModuleType, file_format: str) -> None:
    """As many as allowed are cropped, one more is not."""
    data = encoded(quarters(100, 50), file_format)

    assert photo_crop.crop_image(data, photo_crop.Settings(max_pixels=5_000))
    refused(photo_crop, data, "it has 5,000 pixels, and 4,999 are allowed", max_pixels=4_999)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_has_limits(photo_crop: ModuleType, file_format: str) -> None:
    """Of frames, and of pixels in all of them together."""
    data = animation(hops((*WHITE, 255)), file_format, duration=100)
    pixels = 4 * 400 * 400

    assert photo_crop.crop_image(data, photo_crop.Settings(max_frames=4, max_pixels=pixels))
    refused(photo_crop, data, "it has more than 3 frames", max_frames=3)
    refused(photo_crop, data, "it has 640,000 pixels", max_pixels=pixels - 1)


STARTS = (
    b"",
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"II*\0",
    b"BM",
)


@pytest.mark.filterwarnings("ignore")
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
@hypothesis_settings(deadline=None, max_examples=300)
def test_rubbish_is_refused(photo_crop: ModuleType, start: bytes, rest: bytes) -> None:
    """Whatever bytes arrive, the fault is named as the photo's."""
    try:
        photo_crop.crop_image(start + rest, photo_crop.Settings())
    except photo_crop.UnusablePhoto as refusal:
        assert str(refusal)


SOUND = [
    *(
        encoded(quarters(64, 48), name, exif=exif(Orientation=6))
        for name in ("JPEG", "PNG", "TIFF")
    ),
    *(animation(hops(CLEAR)[:2], name, duration=100) for name in ("GIF", "WEBP", "PNG")),
    encoded(Image.new("CMYK", (64, 48)), "JPEG", icc_profile=print_profile()),
    encoded(quarters(64, 48), "TIFF", compression="tiff_lzw"),
]


@pytest.mark.filterwarnings("ignore")
@given(
    sound=st.sampled_from(SOUND),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
)
@hypothesis_settings(deadline=None, max_examples=300)
def test_a_damaged_photo_is_cropped_or_refused(
    photo_crop: ModuleType, sound: bytes, changes: list[tuple[float, int]]
) -> None:
    """A few wrong bytes lead to a picture or to a clear refusal, to nothing else."""
    damaged = bytearray(sound)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    settings = photo_crop.Settings(width=32, height=32, max_pixels=1_000_000)
    try:
        cropped = photo_crop.crop_image(bytes(damaged), settings)
    except photo_crop.UnusablePhoto as refusal:
        assert str(refusal)
    else:
        assert opened(cropped.data).size == (cropped.width, cropped.height)


# -- settings and declaration ----------------------------------------------------------------------


def test_settings_come_from_the_environment(photo_crop: ModuleType) -> None:
    """What is not set has a default."""
    assert photo_crop.read_settings({}) == photo_crop.Settings()
    assert photo_crop.read_settings(
        {"CROP_WIDTH": "1200", "CROP_HEIGHT": "630", "CROP_QUALITY": "75", "PATH": "/bin"}
    ) == photo_crop.Settings(width=1200, height=630, quality=75)


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "wide", "9999999999", " 8"])
def test_a_bad_setting_is_named(photo_crop: ModuleType, value: str) -> None:
    """Deployment shows this line."""
    with pytest.raises(ValueError, match=r"\ACROP_WIDTH must be a whole number from 1 .+\Z") as bad:
        photo_crop.read_settings({"CROP_WIDTH": value})
    assert repr(value) in str(bad.value)


def test_every_bad_setting_has_its_line(photo_crop: ModuleType) -> None:
    """Who mends them does so once."""
    with pytest.raises(ValueError) as bad:
        photo_crop.read_settings({"CROP_HEIGHT": "x", "CROP_QUALITY": "101", "CROP_WIDTH": "8"})

    assert [line.split()[0] for line in str(bad.value).splitlines()] == [
        "CROP_HEIGHT",
        "CROP_QUALITY",
    ]


def test_it_is_declared_for_what_cameras_and_people_upload(photo_crop: ModuleType) -> None:
    """Names end in small or in capital letters."""
    declaration = photo_crop.crop.__bucketwheel__
    (trigger,) = declaration.triggers

    assert (declaration.name, trigger["bucket"], trigger["prefix"]) == ("crop", "photos", "in/")
    assert {".jpg", ".JPG", ".jpeg", ".png", ".webp", ".gif", ".tif"} <= set(trigger["suffixes"])
