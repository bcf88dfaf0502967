"""Base images, where no registry has them: made of the distribution's own packages.

They stand under the names that the Dockerfiles use, and have in them what the images of that name
have and the Dockerfiles count on.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.compose.daemon import Docker
from tests.conftest import absent

ROOT = Path(__file__).parents[2]
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_MIRROR = "http://deb.debian.org/debian"

_SOURCES = f"""\
deb {_MIRROR} bookworm main
deb {_MIRROR} bookworm-updates main
deb {_MIRROR}-security bookworm-security main
"""
#: As in the image that it stands for: packages leave nothing behind.
_CLEAN = """\
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
_SLIM = """\
path-exclude /usr/share/doc/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""

_PYTHON = """\
FROM debian:bookworm-slim
RUN apt-get update \\
 && apt-get install -y --no-install-recommends python3 python3-venv \\
 && rm -rf /var/lib/apt/lists/* \\
 && ln -s /usr/bin/python3 /usr/local/bin/python
"""
_GO = """\
FROM debian:bookworm-slim
COPY . /usr/local/go
ENV PATH=/usr/local/go/bin:/go/bin:$PATH GOPATH=/go GOTOOLCHAIN=local
"""


def provide(docker: Docker) -> None:
    """Have every image that the Dockerfiles begin with."""
    makers: dict[str, Callable[[Docker], None]] = {
        "debian:bookworm-slim": _debian,
        "python:3.11-slim-bookworm": _python,
        "golang:1.26-bookworm": _go,
    }
    assert wanted() == set(makers)
    for name, make in makers.items():
        if docker.tried("image", "inspect", name).returncode == 0:
            continue
        if docker.tried("pull", "--quiet", name).returncode != 0:
            make(docker)


def wanted() -> set[str]:
    """The images that the Dockerfiles begin with, by their defaults."""
    found = set()
    for file in (ROOT / "docker").glob("*.Dockerfile"):
        text = file.read_text().replace("${PYTHON_VERSION}", "3.11")
        found |= set(re.findall(r"^FROM ([a-z]+:\S+)", text, re.MULTILINE))
    return found


def _debian(docker: Docker) -> None:
    if shutil.which("debootstrap") is None:
        absent("no registry has debian:bookworm-slim, and debootstrap is missing: install it")
    with tempfile.TemporaryDirectory(prefix="bw-base-") as folder:
        base = Path(folder)
        command = ["debootstrap", "--variant=minbase", "bookworm", str(base), _MIRROR]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2_000:]
        _settle(base)
        tar = subprocess.Popen(["tar", "-C", base, "-c", "."], stdout=subprocess.PIPE)
        names = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
        variables = " ".join(f"{name}={_CERTIFICATES}" for name in names)
        changes = ["--change", f"ENV {variables}", "--change", 'CMD ["bash"]']
        docker.run("import", *changes, "-", "debian:bookworm-slim", stdin=tar.stdout)
        assert tar.wait() == 0


def _settle(base: Path) -> None:
    """Trust whom this machine trusts, and be as slim as the image."""
    (base / "etc/apt/sources.list").write_text(_SOURCES)
    (base / "etc/apt/apt.conf.d/docker-clean").write_text(_CLEAN)
    (base / "etc/dpkg/dpkg.cfg.d/slim").write_text(_SLIM)
    for name in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(base / name, ignore_errors=True)
        (base / name).mkdir(parents=True)
    for name in ("etc/ssl/certs", "usr/local/share/ca-certificates"):
        (base / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(_CERTIFICATES, str(base) + _CERTIFICATES)
    for each in _OWN_CERTIFICATES.glob("*.crt"):
        shutil.copy(each, base / "usr/local/share/ca-certificates")


def _python(docker: Docker) -> None:
    _build(docker, "python:3.11-slim-bookworm", _PYTHON, "-")


def _go(docker: Docker) -> None:
    if shutil.which("go") is None:
        absent("no registry has golang:1.26-bookworm, and Go is missing: install it")
    found = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(_GO)
        file.flush()
        _build(docker, "golang:1.26-bookworm", "", "-f", file.name, found.stdout.strip())


def _build(docker: Docker, name: str, text: str, *arguments: str) -> None:
    """By the builder that every client has."""
    environment = {**docker.environment, "DOCKER_BUILDKIT": "0"}
    docker.run("build", "--quiet", "--tag", name, *arguments, input=text, env=environment)
