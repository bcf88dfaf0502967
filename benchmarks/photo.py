"""Synthetic photographs: JPEGs of a wanted number of pixels and bytes.

Noise at every scale, as nature has it, over a gradient of light, with a camera's fine grain on top;
stored with a camera's colour sampling, at the quality that gives the wanted number of bytes.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageChops

_QUALITIES = (40, 97)


def photo(width: int, height: int, size: int) -> bytes:
    """A JPEG of about `size` bytes."""
    image = _picture(width, height)
    low, high = _QUALITIES
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_encoded(image, middle)) <= size else (low, middle - 1)
    return _encoded(image, low)


def _encoded(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def _picture(width: int, height: int) -> Image.Image:
    light = Image.linear_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
    shapes = _noise(width, height, coarsest=max(width, height) // 4, finest=2)
    tints = [_noise(width, height, coarsest=max(width, height) // 3, finest=64) for _ in range(2)]
    grain = Image.effect_noise((width, height), 6)
    luma = ImageChops.add(Image.blend(light, shapes, 0.6), grain, scale=1, offset=-128)
    return Image.merge("YCbCr", (luma, *tints)).convert("RGB")


def _noise(width: int, height: int, coarsest: int, finest: int) -> Image.Image:
    """The mean of noise at doubling scales, the coarser ones weighing more."""
    mixed = Image.new("L", (width, height), 128)
    scale = finest
    while scale <= coarsest:
        small = (max(2, width // scale), max(2, height // scale))
        layer = Image.effect_noise(small, 70).resize((width, height), Image.Resampling.BICUBIC)
        mixed = Image.blend(mixed, layer, 0.35)
        scale *= 2
    return mixed
