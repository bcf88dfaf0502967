"""The photographs: who took them, under which licence, and where they come from.

Nothing is stored in this repository. They are taken out of a package of a public registry, checked
one by one, and kept in a folder. Debian's are large, as cameras make them; where they cannot be
had, smaller ones come from PyPI.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from demo.errors import PhotosUnavailable

#: Seconds that fetching a package may take.
FETCHING: Final = 120.0


@dataclass(frozen=True, slots=True)
class Licence:
    """What a photograph may be used for."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph inside a package."""

    file: str
    path: str
    author: str
    licence: Licence
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self.file).stem


@dataclass(frozen=True, slots=True)
class Source:
    """A package with photographs, the command that fetches it, and what reads it."""

    package: str
    command: tuple[str, ...]
    read: Callable[[Path, frozenset[str]], Mapping[str, bytes]]
    photos: tuple[Photo, ...]


@dataclass(frozen=True, slots=True)
class Album:
    """Photographs that are here, and why they are not those of a better source."""

    source: Source
    files: Mapping[Photo, bytes]
    missed: tuple[str, ...] = ()


# -- packages --------------------------------------------------------------------------------------


def _read_deb(package: Path, paths: frozenset[str]) -> Mapping[str, bytes]:
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    content = subprocess.run(command, capture_output=True, check=True, timeout=FETCHING).stdout
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        wanted = [each for each in archive if each.name.removeprefix("./") in paths]
        files = {each.name.removeprefix("./"): archive.extractfile(each) for each in wanted}
        return {path: file.read() for path, file in files.items() if file is not None}


def _read_wheel(package: Path, paths: frozenset[str]) -> Mapping[str, bytes]:
    with zipfile.ZipFile(package) as archive:
        return {path: archive.read(path) for path in paths & set(archive.namelist())}


# -- the table -------------------------------------------------------------------------------------

CC0: Final = Licence("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/")
CC_BY: Final = Licence("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")
CC_BY_SA: Final = Licence("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/")
PUBLIC_DOMAIN: Final = Licence(
    "public domain", "https://creativecommons.org/publicdomain/mark/1.0/"
)

_BACKGROUNDS: Final = "usr/share/backgrounds"
_AITZOL: Final = "Aitzol Berasategi"
_FREESPACE: Final = "Trevor 'Freespace'"
_PETER: Final = "Peter Nerlich"

#: Authors and licences: the package's own /usr/share/doc/lomiri-wallpapers-16.04/copyright.
DEBIAN: Final = Source(
    package="Debian's lomiri-wallpapers-16.04",
    command=(
        *("apt-get", "download", "lomiri-wallpapers-16.04", "--quiet"),
        *("--option=Acquire::Retries=0", "--option=Acquire::http::Timeout=15"),
    ),
    read=_read_deb,
    photos=(
        Photo(
            "dandelion.jpg",
            f"{_BACKGROUNDS}/seeding_by_Clements_Engelhardt.jpg",
            "Clemens Engelhardt",
            CC0,
            "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
        ),
        Photo(
            "fig.jpg",
            f"{_BACKGROUNDS}/Picture_0B_by_freespace.jpg",
            _FREESPACE,
            CC_BY,
            "c8c0ab18e48d9e0419fe42881112137f3afafc27dfddc29ec3a6d54c56d225ad",
        ),
        Photo(
            "dogs.jpg",
            f"{_BACKGROUNDS}/friends_by_Aitzol_Berasategi.jpg",
            _AITZOL,
            CC_BY,
            "cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d",
        ),
        Photo(
            "mountains.jpg",
            f"{_BACKGROUNDS}/picosdeeuropa_by_Aitzol_Berasategi.jpg",
            _AITZOL,
            CC_BY,
            "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
        ),
        Photo(
            "brushes.jpg",
            f"{_BACKGROUNDS}/Picture_1A_by_freespace.jpg",
            _FREESPACE,
            CC_BY,
            "89e86af38d04daaef975665dc2127e9fa76f0fd68f4eea105a2d0ae3390b010b",
        ),
        Photo(
            "dragonfly.jpg",
            f"{_BACKGROUNDS}/Dragonfly_by_Bolly.jpg",
            "'Bolly'",
            CC_BY_SA,
            "af5af17841009732def24b09bb1e669a1b09d2b4bdeee7812c371101c30d2bb3",
        ),
        Photo(
            "sunset.jpg",
            f"{_BACKGROUNDS}/sunset_by_Aitzol_Berasategi.jpg",
            _AITZOL,
            CC_BY,
            "474dab6a4b9f94dc76c29dfe30e9f5db4af0fd2e33fe5d695f8152b371efca18",
        ),
        Photo(
            "clock.jpg",
            f"{_BACKGROUNDS}/greentock_by_Peter_Nerlich.jpg",
            _PETER,
            CC_BY_SA,
            "e7b20e2db9dcd6e2b278ca55873c2110b35d89cd38b04d0b18728726888e6889",
        ),
        Photo(
            "drum.jpg",
            f"{_BACKGROUNDS}/Wine_by_Jakkub_Mede.jpg",
            "Jakub Mede",
            CC_BY,
            "d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
        ),
        Photo(
            "stream.jpg",
            f"{_BACKGROUNDS}/life_by_Aitzol_Berasategi.jpg",
            _AITZOL,
            CC_BY,
            "4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05",
        ),
        Photo(
            "bird.jpg",
            f"{_BACKGROUNDS}/free_by_Peter_Nerlich.jpg",
            _PETER,
            CC_BY_SA,
            "85a5453c2fed514c75973016f3d862aca62eb7ca087618822469274ac1092373",
        ),
        Photo(
            "meadow.jpg",
            f"{_BACKGROUNDS}/aitzgorri_by_Aitzol_Berasategi.jpg",
            _AITZOL,
            CC_BY,
            "66268e7b48f8854d36a28765fac6e23ec1aee251daa6da1f64715f201020ad36",
        ),
    ),
)

#: Authors and licences: the wheel's own skimage/data/_fetchers.py. Which wheel does not matter, so
#: that one is named which is the same on every machine.
PYPI: Final = Source(
    package="PyPI's scikit-image 0.26.0",
    command=(
        *(sys.executable, "-m", "pip", "download", "scikit-image==0.26.0", "--quiet"),
        *("--no-deps", "--only-binary=:all:", "--platform=manylinux_2_28_x86_64"),
        *("--python-version=3.11", "--implementation=cp", "--abi=cp311"),
        *("--disable-pip-version-check", "--retries=0", "--timeout=15"),
    ),
    read=_read_wheel,
    photos=(
        Photo(
            "rocket.jpg",
            "skimage/data/rocket.jpg",
            "SpaceX",
            PUBLIC_DOMAIN,
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        ),
        Photo(
            "coffee.png",
            "skimage/data/coffee.png",
            "Rachel Michetti",
            CC0,
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        ),
        Photo(
            "galaxies.jpg",
            "skimage/data/hubble_deep_field.jpg",
            "NASA",
            PUBLIC_DOMAIN,
            "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        ),
        Photo(
            "cat.png",
            "skimage/data/chelsea.png",
            "Stefan van der Walt",
            CC0,
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        ),
        Photo(
            "astronaut.png",
            "skimage/data/astronaut.png",
            "NASA",
            PUBLIC_DOMAIN,
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        ),
        Photo(
            "cameraman.png",
            "skimage/data/camera.png",
            "Lav Varshney",
            CC0,
            "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        ),
    ),
)

SOURCES: Final = (DEBIAN, PYPI)


# -- getting them ----------------------------------------------------------------------------------


def fetch(folder: Path, sources: Iterable[Source] = SOURCES) -> Album:
    """The photographs of the first source that is kept in the folder, or else can be fetched.

    Raises:
        PhotosUnavailable: none is kept, and none can be fetched.
    """
    for source in sources:
        if album := _kept(source, folder):
            return album
    failures: list[str] = []
    for source in sources:
        try:
            return Album(source, _fetch(source, folder), tuple(failures))
        except PhotosUnavailable as failure:
            failures.append(f"{source.package}: {failure}")
    raise PhotosUnavailable(
        "no photographs are kept here, and none could be fetched, which needs the network once: "
        + "; ".join(failures)
    )


def _kept(source: Source, folder: Path) -> Album | None:
    files: dict[Photo, bytes] = {}
    for photo in source.photos:
        try:
            files[photo] = (folder / photo.file).read_bytes()
        except FileNotFoundError:
            return None
        if not _is(photo, files[photo]):
            return None
    return Album(source, files)


def _fetch(source: Source, folder: Path) -> Mapping[Photo, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as download:
        _download(source, Path(download))
        [package] = Path(download).iterdir()
        found = source.read(package, frozenset(photo.path for photo in source.photos))
    for photo in source.photos:
        data = found.get(photo.path, b"")
        if not _is(photo, data):
            raise PhotosUnavailable(f"{photo.path} is missing, or not the photograph we know")
        (folder / photo.file).write_bytes(data)
    return {photo: found[photo.path] for photo in source.photos}


def _download(source: Source, folder: Path) -> None:
    try:
        done = subprocess.run(
            source.command, cwd=folder, capture_output=True, text=True, timeout=FETCHING
        )
    except FileNotFoundError:
        raise PhotosUnavailable(f"{source.command[0]} is not here") from None
    except subprocess.TimeoutExpired:
        raise PhotosUnavailable(f"not fetched after {FETCHING:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise PhotosUnavailable(last.removeprefix("E: ").removeprefix("ERROR: "))


def _is(photo: Photo, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == photo.sha256
