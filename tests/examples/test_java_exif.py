"""The example in Java: EXIF of photos."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from PIL import Image
from PIL.ExifTags import Base

from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.examples.conftest import Made, deployed
from tests.system.conftest import logged


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System) -> None:
    deployed(system, "java_exif", "mvn", "java17")


def test_a_photo_tells_of_itself(made: Made) -> None:
    """What its camera wrote, by names."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Wheel & Söhne", "Bucket 3"
    photo = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(photo, "JPEG", exif=exif)

    made_of = made(
        "album", "photos/an der Mühle+1.jpg", photo.getvalue(), "exif/an der Mühle+1.json"
    )

    found = json.loads(made_of)
    assert found["Exif IFD0"]["Model"] == "Bucket 3"
    assert found["JPEG"]["Image Width"] == "64 pixels"


@pytest.mark.parametrize(("name", "body"), [("empty", b""), ("text", b"no photo at all")])
def test_what_is_no_photo_is_told(system: System, name: str, body: bytes) -> None:
    """With its name, in the function's log."""
    system.s3().put_object(Bucket="album", Key=f"photos/{name}.jpg", Body=body)

    message = f"album/photos/{name}.jpg is no sound JPEG"
    wait_until(lambda: message in logged(system, "read-exif"), "it is logged")
