"""The demo's parts on pictures made here, and the whole of it on real photographs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from demo import contact_sheet, photos, run, uploads
from demo.contact_sheet import Pair
from demo.crops import Crop, Expectation, Size, centre, preview
from demo.errors import PhotosUnavailable, WrongCrop
from demo.photos import CC0, PYPI, SOURCES, Album, Photo, Source
from demo.reports import Report, reports
from demo.results import Outcome, Result, find_faults
from demo.run import ROOT
from demo.screen import Screen
from demo.uploads import Upload
from demo.words import weight
from storage.settings import StorageSettings

ASKED = Size(80, 80)
REPORT = Report("1", (), 12.4)


def make_picture(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards: no two parts of it are alike."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), 90)))


def encode(picture: Image.Image, file_format: str = "JPEG") -> bytes:
    result = BytesIO()
    picture.save(result, file_format, quality=95)
    return result.getvalue()


def make_photo(file: str, data: bytes) -> Photo:
    return Photo(file, f"folder/{file}", "Somebody", CC0, hashlib.sha256(data).hexdigest())


def make_upload(file: str, picture: Image.Image) -> Upload:
    data = encode(picture)
    return Upload(file, data, make_photo(file, data))


@pytest.fixture
def upload() -> Upload:
    """A photograph, wider than high."""
    return make_upload("wide.jpg", make_picture(300, 200))


def cut(upload: Upload, box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """The right crop, or that of another part."""
    picture = preview(upload.data, upright=True)
    return picture.crop(box or centre(Size(*picture.size), ASKED)).resize(ASKED)


def stored(picture: Image.Image) -> Crop:
    return Crop(encode(picture), "image/jpeg")


# -- crops -----------------------------------------------------------------------------------------


def test_the_right_crop_passes(upload: Upload) -> None:
    Expectation.of(upload, ASKED).check(stored(cut(upload)))


def test_a_small_photograph_is_only_cut() -> None:
    small = make_upload("small.jpg", make_picture(60, 40))
    assert Expectation.of(small, ASKED).size == (40, 40)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda right: Crop(right.data[:200], right.content_type), "cannot be decoded"),
        (lambda right: Crop(right.data, "binary/octet-stream"), "is binary/octet-stream, not"),
        (lambda _: stored(make_picture(81, 80)), "has 81×80 pixels, not 80×80"),
        (lambda _: stored(Image.new("RGB", ASKED, "teal")), "all of one colour"),
    ],
)
def test_a_spoilt_crop_is_refused(upload: Upload, spoil: Callable[[Crop], Crop], why: str) -> None:
    with pytest.raises(WrongCrop, match=why):
        Expectation.of(upload, ASKED).check(spoil(stored(cut(upload))))


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(lambda upload: cut(upload, (0, 0, 200, 200)), id="its left end"),
        pytest.param(lambda upload: cut(upload, (0, 0, 300, 200)), id="squeezed"),
        pytest.param(lambda upload: cut(upload).rotate(90), id="lying"),
        pytest.param(lambda upload: ImageOps.mirror(cut(upload)), id="mirrored"),
    ],
)
def test_another_part_of_the_photograph_is_refused(
    upload: Upload, picture: Callable[[Upload], Image.Image]
) -> None:
    with pytest.raises(WrongCrop, match="does not show the middle"):
        Expectation.of(upload, ASKED).check(stored(picture(upload)))


# -- uploads ---------------------------------------------------------------------------------------


@pytest.fixture
def album() -> Album:
    """Two photographs, the second upright."""
    pictures = {"wide.jpg": make_picture(300, 200), "high.png": make_picture(200, 300)}
    files = {
        name: encode(each, name[-3:].upper().replace("JPG", "JPEG"))
        for name, each in pictures.items()
    }
    known = {make_photo(name, data): data for name, data in files.items()}
    return Album(Source("a package", (), photos._read_wheel, tuple(known)), known)


def test_one_photograph_is_stored_lying_and_seen_upright(album: Album) -> None:
    _, lying, _ = uploads.prepare(album)
    assert (lying.file, lying.lying, lying.content_type) == ("high.jpg", True, "image/jpeg")
    assert preview(lying.data).size == (300, 200)
    original = preview(next(data for photo, data in album.files.items() if photo == lying.photo))
    Expectation.of(replace(lying, data=encode(original), lying=False), ASKED).check(
        stored(cut(lying))
    )


def test_the_last_upload_cannot_be_decoded(album: Album) -> None:
    *_, broken = uploads.prepare(album)
    assert broken.broken
    with pytest.raises(OSError, match="truncated"):
        preview(broken.data)


# -- reports ---------------------------------------------------------------------------------------

LOG = [
    "START RequestId: a1 Version: 1\n"
    "photos/in/one/fig.jpg, 9 bytes, cropped to cropped/one/fig.jpg: {'width': 8}\n"
    "END RequestId: a1\n"
    "REPORT RequestId: a1\tDuration: 1286.50 ms\tBilled Duration: 1287 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 104 MB\tInit Duration: 824.00 ms\t",
    "START RequestId: b2 Version: 1\n"
    "[ERROR] UnusablePhoto: photos/in/one/fig.jpg.jpg: it is empty\n"
    "Traceback (most recent call last):\n"
    "END RequestId: b2\n"
    "REPORT RequestId: b2\tDuration: 7.00 ms\tBilled Duration: 7 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 104 MB\tStatus: error\tError Type: UnusablePhoto\t",
    "START RequestId: c3 Version: 1\n",
]


def test_reports_tell_cold_from_warm_and_errors_and_leave_out_what_still_runs() -> None:
    cold, warm = reports(LOG)
    assert (cold.id, cold.cold, cold.init_ms, cold.duration_ms) == ("a1", True, 824.0, 1286.5)
    assert (warm.id, warm.cold, warm.duration_ms) == ("b2", False, 7.0)
    assert cold.error is None
    assert warm.error == "UnusablePhoto: photos/in/one/fig.jpg.jpg: it is empty"


def test_a_report_is_about_the_whole_key_alone() -> None:
    cold, warm = reports(LOG)
    assert cold.is_about("photos/in/one/fig.jpg")
    assert not warm.is_about("photos/in/one/fig.jpg")
    assert warm.is_about("photos/in/one/fig.jpg.jpg")


# -- results and what is shown of them -------------------------------------------------------------


def test_a_result_without_fault_has_none(upload: Upload) -> None:
    good = Outcome(REPORT, stored(cut(upload)))
    assert find_faults(Result(upload, good, good), ASKED) == []


def test_every_fault_of_a_result_is_told(upload: Upload) -> None:
    failed = Report("1", ("[ERROR] KeyError: 'Records'",), 3.0)
    result = Result(upload, Outcome(failed, None), Outcome(REPORT, None))
    assert find_faults(result, ASKED) == [
        "wide.jpg failed: KeyError: 'Records'",
        "the crop of wide.jpg is missing",
    ]


def test_a_broken_file_must_be_refused(upload: Upload) -> None:
    broken = replace(upload, broken=True)
    refused = Report("1", ("[ERROR] UnusablePhoto: photos/in/wide.jpg: it is broken",), 3.0)
    assert find_faults(Result(broken, Outcome(refused, None)), ASKED) == []
    for wrong in (Outcome(REPORT, None), Outcome(refused, stored(cut(upload)))):
        assert find_faults(Result(broken, wrong), ASKED) == [
            "wide.jpg should have been refused as broken"
        ]


def test_the_table_shows_every_upload_on_a_line(upload: Upload) -> None:
    output = StringIO()
    cold = Outcome(Report("1", (), 1286.5, 824.0), stored(cut(upload)))
    broken = Outcome(Report("2", ("[ERROR] UnusablePhoto: [b] is broken",), 7.0), None)
    results = [
        Result(upload, cold, Outcome(REPORT, stored(cut(upload)))),
        Result(replace(upload, file="broken.jpg", broken=True), broken),
    ]
    Screen(Console(file=output)).show(results)
    lines = [" ".join(each.split()) for each in output.getvalue().splitlines()]
    before, after = weight(upload.data), weight(encode(cut(upload)))
    assert f"wide.jpg 300×200 {before} 80×80 {after} cold 824+1,286 warm 12" in lines
    assert f"broken.jpg 300×200 {before} none warm 7" in lines
    assert "broken.jpg failed alone, as it must: UnusablePhoto: [b] is broken" in lines


def test_the_contact_sheet_shows_every_crop(upload: Upload) -> None:
    crop = stored(cut(upload))
    sheet = contact_sheet.draw([Pair(upload, crop)] * 5, ASKED, PYPI)
    first = (
        contact_sheet._MARGIN + contact_sheet._CARD.width - contact_sheet._AFTER.width // 2,
        contact_sheet._HEAD + contact_sheet._AFTER.height // 2,
    )
    right = contact_sheet._CARD.width + contact_sheet._GAP.width
    down = contact_sheet._CARD.height + contact_sheet._GAP.height
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        middle = sheet.getpixel((first[0] + column * right, first[1] + row * down))
        assert middle == preview(crop.data).getpixel((40, 40))
    assert sheet.getpixel((first[0] + 2 * right, first[1] + down)) == contact_sheet._PAPER


# -- photographs -----------------------------------------------------------------------------------


def test_the_table_of_photographs_is_sound() -> None:
    for source in SOURCES:
        assert len({photo.file for photo in source.photos}) == len(source.photos)
        for photo in source.photos:
            assert len(bytes.fromhex(photo.sha256)) == 32
            assert photo.file.rpartition(".")[2] in uploads.CONTENT_TYPES


def make_source(folder: Path, content: bytes, known: bytes) -> Source:
    """A package that a copy fetches, with one photograph in it."""
    package = folder / "package.whl"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("folder/fig.jpg", content)
    command = ("cp", str(package), ".")
    return Source("a package", command, photos._read_wheel, (make_photo("fig.jpg", known),))


def test_photographs_are_fetched_once_and_kept(tmp_path: Path) -> None:
    source = make_source(tmp_path, b"a fig", b"a fig")
    fetched = photos.fetch(tmp_path / "kept", [source])
    kept = photos.fetch(tmp_path / "kept", [replace(source, command=("false",))])
    assert list(kept.files.values()) == list(fetched.files.values()) == [b"a fig"]
    assert [each.name for each in (tmp_path / "kept").iterdir()] == ["fig.jpg"]


def test_the_next_source_is_tried_and_the_failure_told(tmp_path: Path) -> None:
    sound = make_source(tmp_path, b"a fig", b"a fig")
    absent = replace(sound, package="another", command=("no-such-program",))
    assert photos.fetch(tmp_path / "kept", [absent, sound]).missed == (
        "another: no-such-program is not here",
    )


def test_other_photographs_than_known_are_refused_in_one_sentence(tmp_path: Path) -> None:
    source = make_source(tmp_path, b"a wasp", b"a fig")
    with pytest.raises(PhotosUnavailable) as caught:
        photos.fetch(tmp_path / "kept", [source, replace(source, command=("false",))])
    assert str(caught.value) == (
        "no photographs are kept here, and none could be fetched, which needs the network once: "
        "a package: folder/fig.jpg is missing, or not the photograph we know; "
        "a package: no reason given"
    )


# -- the whole -------------------------------------------------------------------------------------


@pytest.fixture
def demo(storage: StorageSettings, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts the demo, where there are servers and photographs."""
    try:
        photos.fetch(run.PHOTOS)
    except PhotosUnavailable as failure:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(failure))
    return lambda: subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that name a folder, and files in it."""
    commands = (" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
    return [each for each in commands if str(folder) in each] + os.listdir(folder)


def test_the_demo_crops_every_photograph_and_leaves_nothing_behind(
    demo: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = demo()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "Every crop is there and right." in output
    assert "broken.jpg failed alone, as it must: UnusablePhoto: " in output
    with Image.open(run.OUTPUT / "contact-sheet.png") as sheet:
        assert sheet.width > 2_000
    assert left_behind(tmp_path) == []


def test_an_interrupted_demo_leaves_nothing_behind(
    demo: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = demo()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("$ bucketwheel up"):
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "interrupted; nothing is left running" in output
    assert left_behind(tmp_path) == []
