"""What an environment sees of the host's files: a list of what is there, and nothing else.

Standard library only: the zygote imports it. In the zygote's own mount namespace:

    /            empty, and nobody's root but the zygote's
    /private     what only the zygote reaches; it is taken away before an environment begins
        host     the host's files
        tmp/N    /tmp of the environment with user N, in memory, of limited size
    /view        the root folder of environments: programs, libraries, /etc, /proc, /dev

An environment gets its own copy of the namespace, in which its code, layers and /tmp are added to
/view. That its root is not the namespace's own has one more effect: the kernel lets it make no
user namespace (user_namespaces(7): EPERM in a chroot), in which it would be root of a kind.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from workers import linux
from workers.zygote_protocol import Place

HOST: Final = "/private/host"
VIEW: Final = "/view"
#: Folders of programs, libraries and settings; where they are links, they stay links.
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS: Final = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_EMPTY: Final = ("/var/task", "/var/layers", "/opt", "/tmp", "/dev/shm", "/proc")
#: Megabytes of an environment's /dev/shm.
_SHARED_MEMORY: Final = 64


class View:
    """Made once in the zygote; entered in each of its children."""

    def __init__(self, paths: Iterable[str], hidden: str) -> None:
        """Paths to be seen, and a folder that must not be even below these."""
        paths = list(paths)
        self._links = {each: os.readlink(each) for each in paths if os.path.islink(each)}
        self._shown = [each for each in paths if each not in self._links]
        self._hidden = os.path.realpath(hidden)

    def build(self) -> None:
        """Leave the host's mount namespace, and lay out what environments see.

        Raises:
            OSError: the kernel refuses.
        """
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
        host = linux.clone_mount("/")
        linux.tmpfs("/tmp", "mode=711,size=1m")
        os.mkdir("/tmp/private")
        linux.tmpfs("/tmp/private", "mode=700,size=1m")
        os.mkdir("/tmp" + HOST)
        linux.move_mount(host, "/tmp" + HOST)
        os.close(host)
        linux.change_root("/tmp")
        os.mkdir("/private/tmp")
        os.mkdir(VIEW)
        self._fill()

    def enter(self, place: Place) -> None:
        """Make a process's own view its root folder; only in a forked child.

        Raises:
            OSError: the kernel refuses.
        """
        self.lay_out(place)
        self.enter_root()

    def lay_out(self, place: Place) -> None:
        """Complete a process's view, and let go of all else; only in a forked child.

        Raises:
            OSError: the kernel refuses.
        """
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC)
        linux.bind(HOST + place.task_root, VIEW + "/var/task")
        if place.layers:
            linux.bind(HOST + place.layers, VIEW + place.opt)
        tmp = linux.clone_mount(self.tmp(place.uid, place.tmp))
        put_own(VIEW, place.uid, tmp, self.shown_below("/tmp"))
        linux.unmount("/private")

    def enter_root(self) -> None:
        """Make the view the root folder; only in a forked child."""
        os.chroot(VIEW)
        os.chdir("/")

    def shown_below(self, folder: str) -> list[str]:
        """What a mount on this folder covers: an interpreter may be in /tmp."""
        return [each for each in self._shown if each.startswith(folder + "/")]

    def tmp(self, uid: int, size: int) -> str:
        """Where a user's /tmp is mounted in the zygote's namespace; made if there is none.

        Raises:
            OSError: the kernel refuses.
        """
        place = f"/private/tmp/{uid}"
        if not os.path.ismount(place):
            os.makedirs(place, exist_ok=True)
            files = size * 256  # one for each page, lest empty files fill the memory
            options = f"mode=700,uid={uid},gid={uid},size={size}m,nr_inodes={files}"
            linux.tmpfs(place, options)
        return place

    def remove_tmp(self, uid: int) -> None:
        """Remove a user's /tmp, and all that is in it."""
        place = f"/private/tmp/{uid}"
        if os.path.ismount(place):
            linux.unmount(place)
            os.rmdir(place)

    def _fill(self) -> None:
        linux.tmpfs(VIEW, "mode=755,size=1m")
        for name, target in self._links.items():
            os.symlink(target, VIEW + name)
        for each in self._shown:
            _show(each)
        for each in _EMPTY:
            os.makedirs(VIEW + each, exist_ok=True)
        # `invisible` is a word of Linux 5.8: before it, this would change the host's /proc too.
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", VIEW + "/proc", "proc", flags, "hidepid=invisible")
        for name in _DEVICES:
            _show(f"/dev/{name}", devices=True)
        for name, target in _LINKS.items():
            os.symlink(f"/proc/self/fd{target}", f"{VIEW}/dev/{name}")
        if os.path.isdir(VIEW + self._hidden):
            linux.tmpfs(VIEW + self._hidden, "mode=700,size=4k")
        remount = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY
        linux.mount("", VIEW, "", remount | linux.MS_NOSUID | linux.MS_NODEV)


def put_own(root: str, uid: int, tmp: int, shown: list[str]) -> None:
    """Mount an environment's own /tmp and /dev/shm; inside a user namespace, by the number there.

    What the mount on /tmp would cover, and is to be seen, is put into it.

    Raises:
        OSError: the kernel refuses.
    """
    covered = {root + each: linux.clone_mount(root + each) for each in shown}
    is_folder = {path: os.path.isdir(path) for path in covered}
    linux.move_mount(tmp, root + "/tmp")
    usual = os.umask(0o022)  # a snapshot's root makes these folders, and another user goes through
    for path, descriptor in covered.items():
        _make(path, is_folder[path])
        linux.move_mount(descriptor, path)
    os.umask(usual)
    options = f"mode=700,uid={uid},gid={uid},size={_SHARED_MEMORY}m,nr_inodes=4096"
    linux.tmpfs(f"{root}/dev/shm", options)


def _show(path: str, devices: bool = False) -> None:
    """Bind a file or a folder of the host at its own name."""
    source, target = HOST + path, VIEW + path
    _make(target, os.path.isdir(source))
    if devices:
        linux.mount(source, target, "", linux.MS_BIND)
    else:
        linux.bind(source, target)


def _make(path: str, is_folder: bool) -> None:
    """Something to mount on."""
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder and not os.path.exists(path):
        with open(path, "xb"):
            pass


def _interpreter() -> Iterator[str]:
    """Where this Python, its libraries and the decorator's package are.

    Of further folders on its path only a user's own site: others may hold anything.
    """
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    yield os.path.realpath(sys.executable)
    user = site.getusersitepackages()
    if user in sys.path:
        yield user
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bucketwheel")


def visible_paths(further: Iterable[str]) -> tuple[str, ...]:
    """All of the host's files that environments see; none lies below another, links stay links."""
    system = [each for each in _SYSTEM if os.path.lexists(each)]
    links = [each for each in system if os.path.islink(each)]
    names = os.path.realpath("/etc/resolv.conf")  # often a link to what a service writes below /run
    wanted = [*system, *_interpreter(), names, *further]
    known = {os.path.abspath(each) for each in wanted if os.path.exists(each)} - {"/", *links}
    inside = {one for one in known for other in [*known, *links] if one.startswith(other + "/")}
    return (*links, *sorted(known - inside))
