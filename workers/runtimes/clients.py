"""AWS's runtime clients that no package index of Python's has: for Node.js and Java.

They lie in one folder beside this Python, put there by `bucketwheel runtimes install`:
    nodejs/node_modules/aws-lambda-ric     from npm, with a native build
    java/*.jar                             from Maven Central
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.errors import RuntimeMissing

FOLDER: Final = Path(sys.prefix) / "share" / "bucketwheel" / "runtimes"

_NODEJS_VERSION: Final = "4.0.2"
NODEJS: Final = f"aws-lambda-ric@{_NODEJS_VERSION}"
NODEJS_CLIENT: Final = FOLDER / "nodejs" / "node_modules" / "aws-lambda-ric"
#: What its native build needs beside npm, which brings the sources.
_BUILD: Final = ("cmake", "make", "g++")

_CENTRAL: Final = "https://repo1.maven.org/maven2"
_CHUNK: Final = 256 * 1024

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of Maven Central's, which never changes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def url(self) -> str:
        """Where Maven Central has it."""
        group = self.group.replace(".", "/")
        return f"{_CENTRAL}/{group}/{self.artifact}/{self.version}/{self.name}"


_AWS: Final = "com.amazonaws"
JARS: Final = (
    Jar(
        *(_AWS, "aws-lambda-java-runtime-interface-client", "2.9.0"),
        "26568a5f63bf9e921567e77661be425650abc8972bae2aa0b7e99bab4e4239d9",
    ),
    Jar(
        *(_AWS, "aws-lambda-java-core", "1.4.0"),
        "575c24393cc1ad645e83e618956eabd89ffe8cc09efae2cb62bc6589154d68ed",
    ),
    Jar(
        *(_AWS, "aws-lambda-java-serialization", "1.2.0"),
        "1513c1f945a3213f916a4b2de1760c97b51d84d110f82bbbcf9cfac53d5651e7",
    ),
    Jar(
        *("software.amazon.awssdk", "utils-lite", "2.34.0"),
        "efaf784f07ae526f0b5c89d71ef21cf16636131c47d44616e3df9bedc3f4f89a",
    ),
)


def has_nodejs() -> bool:
    """Whether the client for Node.js is there, in this version, its native part too."""
    try:
        version = json.loads((NODEJS_CLIENT / "package.json").read_bytes())["version"]
    except FileNotFoundError:
        return False
    return version == _NODEJS_VERSION and (NODEJS_CLIENT / "rapid-client.node").is_file()


def has_java() -> bool:
    """Whether the client for Java is there, all of it."""
    return all(jar.is_file() for jar in java_client())


def java_client() -> list[Path]:
    """Files of the client for Java, of these versions alone."""
    return [FOLDER / "java" / jar.name for jar in JARS]


def install_nodejs(tell: Tell) -> None:
    """Install the client for Node.js, if it is not there yet; its build takes about a minute.

    Raises:
        RuntimeMissing: npm or a tool of its native build is missing, or the build failed.
    """
    if has_nodejs():
        return tell(f"{NODEJS} is there")
    missing = [tool for tool in ("npm", *_BUILD) if shutil.which(tool) is None]
    if missing:
        raise RuntimeMissing(f"{NODEJS} needs {', '.join(missing)}: install them, then this")
    tell(f"building {NODEJS}; this takes about a minute, once")
    folder = _folder("nodejs")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", NODEJS]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        umask=0o022,
    )
    if not has_nodejs():
        shutil.rmtree(NODEJS_CLIENT, ignore_errors=True)
        reason = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-10:])
        raise RuntimeMissing(f"{NODEJS} cannot be built:\n{reason}")


def install_java(tell: Tell) -> None:
    """Fetch the client for Java, of it what is not there yet.

    Raises:
        RuntimeMissing: Maven Central does not answer, or gives another file than it should.
    """
    folder = _folder("java")
    for jar in JARS:
        if (folder / jar.name).is_file():
            tell(f"{jar.name} is there")
            continue
        try:
            _fetch(jar, folder, tell)
        except OSError as error:
            raise RuntimeMissing(f"{jar.url} cannot be fetched: {error}") from None


def _folder(name: str) -> Path:
    """A folder that users of environments can read too."""
    folder = FOLDER / name
    for each in (FOLDER, folder):
        each.mkdir(parents=True, exist_ok=True)
        each.chmod(0o755)
    return folder


def _fetch(jar: Jar, folder: Path, tell: Tell) -> None:
    """Fetch a file beside its final place; it gets its name once it is whole and the right one."""
    with (
        urllib.request.urlopen(jar.url, timeout=60) as response,  # noqa: S310
        tempfile.NamedTemporaryFile(dir=folder, delete=False) as file,
    ):
        try:
            size = int(response.headers["Content-Length"])
            tell(f"fetching {jar.name}, {size / 1e6:.1f} MB")
            shutil.copyfileobj(response, file, _CHUNK)
            if file.tell() < size:
                raise OSError("it broke off")
            file.flush()
            _check(jar, Path(file.name))
            os.chmod(file.name, 0o644)
            os.rename(file.name, folder / jar.name)
        except BaseException:
            os.unlink(file.name)
            raise


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise RuntimeMissing(f"{jar.url} has the SHA-256 {found}, not {jar.sha256}")
