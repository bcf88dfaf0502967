"""Linux's calls that Python has no name for: mounts, namespaces, attributes of a process.

Standard library only: the zygote imports it.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

# mount(2), umount(2), mount_setattr(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 32, 4096, 8192, 16384, 1 << 19
MNT_DETACH: Final = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR: Final = 442  # the same number on every architecture
# open_tree(2), move_mount(2)
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
_OPEN_TREE_CLONE, _AT_EMPTY_SOURCE = 1, 4
# unshare(2)
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x0002_0000, 0x0800_0000, 0x1000_0000
# prctl(2)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP = 1, 4, 15, 24
PR_GET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 27, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)


#: capabilities(7): those that let a process be root of its user namespace's own users.
CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN = 1, 5, 6, 7, 8, 21
_CAPABILITY_VERSION: Final = 0x2008_0522


class _Attributes(ctypes.Structure):
    """`struct mount_attr`."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system; mount(2).

    Raises:
        OSError: the kernel refuses.
    """
    words = (source.encode(), target.encode(), kind.encode() or None)
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), target)


def bind(source: str, target: str, *, read_only: bool = True) -> None:
    """Show a file or a folder, with what is mounted below it, at another place as well.

    No device and no set-user-id program works there.

    Raises:
        OSError: the kernel refuses; `mount_setattr` came with Linux 5.12.
    """
    mount(source, target, "", MS_BIND | MS_REC)
    attributes = _ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if read_only else 0)
    _set_attributes(target, attributes)


def _set_attributes(target: str, attributes: int) -> None:
    wanted = _Attributes(attributes, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    flags = ctypes.c_uint(_AT_RECURSIVE)
    call = ctypes.c_long(_SYS_MOUNT_SETATTR)
    _check(
        _libc.syscall(call, _AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), size), target
    )


def clone_mount(path: str) -> int:
    """A descriptor of a mount that shows the same as a path, and is nowhere as yet.

    Raises:
        OSError: the kernel refuses; `open_tree` came with Linux 5.2.
    """
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE)
    call = ctypes.c_long(_SYS_OPEN_TREE)
    return _check(_libc.syscall(call, _AT_FDCWD, path.encode(), flags), path)


def move_mount(descriptor: int, target: str) -> None:
    """Put such a mount to its place.

    Raises:
        OSError: the kernel refuses.
    """
    call, flags = ctypes.c_long(_SYS_MOVE_MOUNT), ctypes.c_uint(_AT_EMPTY_SOURCE)
    _check(_libc.syscall(call, descriptor, b"", _AT_FDCWD, target.encode(), flags), target)


def tmpfs(target: str, options: str, flags: int = MS_NOSUID | MS_NODEV) -> None:
    """Mount an empty file system in memory; options as in tmpfs(5).

    Raises:
        OSError: the kernel refuses.
    """
    mount("tmpfs", target, "tmpfs", flags, options)


def unmount(target: str) -> None:
    """Take a mount away, with all below it, as soon as nobody uses it.

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def change_root(folder: str) -> None:
    """Make a mount the root folder, and let go of the old one.

    Docker's filter of system calls knows no pivot_root(2), whatever the capabilities. There the
    mount is laid over the old root, as switch_root(8) does. Only who may change the mounts could
    uncover that: no environment may, and to a snapshot, which may in a user namespace of its own,
    they are locked together (mount_namespaces(7)).

    Raises:
        OSError: the kernel refuses.
    """
    os.chdir(folder)
    try:
        _check(_libc.pivot_root(b".", b"."), folder)  # the old one now lies over the new
        unmount(".")
    except PermissionError:
        mount(folder, "/", "", MS_MOVE)
        os.chroot(".")
    os.chdir("/")


def unshare(flags: int) -> None:
    """Leave namespaces that are shared with others; unshare(2).

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.unshare(flags), "unshare")


def join_user_namespace(descriptor: int) -> None:
    """Enter a user namespace; setns(2).

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.setns(descriptor, CLONE_NEWUSER), "setns")


def prctl(option: int, value: int | bytes = 0) -> int:
    """Ask or set an attribute of this process; prctl(2).

    Raises:
        OSError: the kernel refuses.
    """
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    nothing = ctypes.c_ulong(0)
    return _check(_libc.prctl(option, argument, nothing, nothing, nothing), "prctl")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Give up all other capabilities for good, for programs that are run later too.

    Raises:
        OSError: the kernel refuses.
    """
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as file:
        last = int(file.read())
    for each in range(last + 1):
        if each not in kept:
            prctl(PR_CAPBSET_DROP, each)
    mask = sum(1 << each for each in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    words = (ctypes.c_uint32 * 6)(
        mask, mask, 0, 0, 0, 0
    )  # effective, permitted, inheritable; twice
    _check(_libc.capset(header, words), "capset")


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
