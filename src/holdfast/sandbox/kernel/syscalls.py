"""System calls that Python has no function for, by the names the kernel gives them.

Each raises `OSError` with the kernel's reason and the call's name. Importing this works everywhere; calling works on
Linux, on x86-64 and 64-bit ARM.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

__all__ = (
    "CAP_LAST",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "NAMESPACES",
    "NEWIPC",
    "NEWNET",
    "NEWNS",
    "NEWPID",
    "NEWUSER",
    "NEWUTS",
    "NUMBERS",
    "close_above",
    "drop_capabilities",
    "fork_into",
    "mount",
    "mount_attributes",
    "move_mount",
    "open_beneath",
    "open_tree",
    "pivot_root",
    "prctl",
    "set_host_name",
    "syscall",
    "umount",
    "unshare",
)

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES: Final = {
    "userns": NEWUSER,
    "pidns": NEWPID,
    "mountns": NEWNS,
    "netns": NEWNET,
    "ipcns": NEWIPC,
    "utsns": NEWUTS,
}
"""The flags by the names of layers (`sandbox/port.py`)."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x100000
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_FD, _MOVE_TO_FD = 4, 0x40
_BENEATH = 0x08 | 0x04 | 0x02  # within the folder, no links, no links of /proc

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
PR_SET_CHILD_SUBREAPER = 36
CAP_LAST: Final = 63
"""No capability has a higher number; the kernel refuses those it does not know."""

_SIGCHLD, _CLONE_PIDFD = 17, 0x1000

# clone, pivot_root and capset have numbers of their own on each machine; what is newer has one for all.
_OWN = {"x86_64": (56, 155, 126), "aarch64": (220, 41, 91)}
NUMBERS: Final = {
    "open_tree": 428,
    "move_mount": 429,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "close_range": 436,
    "openat2": 437,
}
_CLONE, _PIVOT_ROOT, _CAPSET = _OWN.get(platform.machine(), (-1, -1, -1))

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform != "win32" else None
# Keeps the interpreter's lock through the call: what runs in a process that was just cloned must have it.
_held = ctypes.PyDLL(None, use_errno=True) if sys.platform != "win32" else None
if sys.platform == "linux":
    _libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def syscall(number: int, *args: object, name: str = "") -> int:
    """Returns what the system call of that number returns."""
    assert _libc is not None
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        _fail(name or f"system call {number}")
    return result


def _fail(name: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{name}: {os.strerror(number)}")


def _check(result: int, name: str) -> None:
    if result != 0:
        _fail(name)


def fork_into(flags: int) -> tuple[int, int]:
    """Forks a child into new namespaces; returns its number and a pidfd, or two zeros in the child.

    For a process with a single thread and no event loop: the child goes on with a copy of everything.
    """
    assert _held is not None
    descriptor = ctypes.c_int(-1)
    pid = _held.syscall(
        ctypes.c_long(_CLONE),
        ctypes.c_long(flags | _SIGCHLD | _CLONE_PIDFD),
        None,
        ctypes.byref(descriptor),
        None,
        None,
    )
    if pid < 0:
        _fail("clone")
    return int(pid), descriptor.value if pid else 0


def unshare(flags: int) -> None:
    """Gives this process namespaces of its own."""
    assert _libc is not None
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mounts; `kind` is the file system's, empty for a bind or a change of flags."""
    assert _libc is not None
    given = [each.encode() or None for each in (source, target, kind)]
    options = data.encode() or None
    if _libc.mount(*given, ctypes.c_ulong(flags), options) != 0:
        _fail(f"mount {kind or 'of ' + source} at {target}")


def umount(target: str, flags: int = 2) -> None:
    """Unmounts, at once for nobody new and for good when nobody uses it any more."""
    assert _libc is not None
    _check(_libc.umount2(target.encode(), flags), f"umount of {target}")


def pivot_root(new: str, old: str) -> None:
    """Makes `new` the root, and puts the old one at `old`."""
    syscall(_PIVOT_ROOT, new.encode(), old.encode(), name="pivot_root")


def open_tree(where: int | str, *, recursive: bool) -> int:
    """Returns a descriptor of a copy of what is mounted at a path or a descriptor; it is mounted nowhere yet."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    place = (where, b"", flags | _AT_EMPTY_PATH) if isinstance(where, int) else (-100, where.encode(), flags)
    return syscall(NUMBERS["open_tree"], *place, name=f"open_tree of {where}")


def move_mount(tree: int, where: int | str) -> None:
    """Mounts a copy that `open_tree` made, at a path or at what a descriptor was opened for."""
    place = (
        (where, b"", _MOVE_FROM_FD | _MOVE_TO_FD) if isinstance(where, int) else (-100, where.encode(), _MOVE_FROM_FD)
    )
    syscall(NUMBERS["move_mount"], tree, b"", *place, name=f"move_mount to {where}")


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Opens a path that neither leaves the folder nor follows any link.

    Raises:
        OSError: there is no such path, or a link is on it, or it leads out.
    """
    how = _How(flags | os.O_CLOEXEC, 0, _BENEATH)
    number = NUMBERS["openat2"]
    return syscall(number, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), name=f"open of {path}")


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def mount_attributes(where: int | str, attributes: int, *, recursive: bool = False, userns: int = 0) -> None:
    """Adds attributes to a mount, given by its path or a descriptor; `userns` is one that maps owners."""
    given = _Attributes(attributes, 0, 0, userns)
    flags = (_AT_RECURSIVE if recursive else 0) | (_AT_EMPTY_PATH if isinstance(where, int) else 0)
    place = (where, b"") if isinstance(where, int) else (-100, where.encode())
    number = NUMBERS["mount_setattr"]
    syscall(number, *place, flags, ctypes.byref(given), ctypes.sizeof(given), name=f"mount_setattr of {where}")


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """Changes something of this process."""
    assert _libc is not None
    if _libc.prctl(option, first, second, 0, 0) != 0:
        _fail(f"prctl {option}")


def set_host_name(name: str) -> None:
    """Names the machine, in this UTS namespace."""
    assert _libc is not None
    _check(_libc.sethostname(name.encode(), len(name)), "sethostname")


def close_above(first: int) -> None:
    """Closes every descriptor from a number on."""
    syscall(NUMBERS["close_range"], first, ctypes.c_uint(0xFFFFFFFF), 0, name="close_range")


def drop_capabilities() -> None:
    """Gives up every right of the superuser, for this process and all it starts."""
    for capability in range(CAP_LAST + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the kernel knows no higher one; or the process has no right to, and nothing to give up either
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    syscall(_CAPSET, ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()), name="capset")
