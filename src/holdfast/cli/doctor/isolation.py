"""Which layers of isolation this kernel gives to this user, each tried in a child process that is gone afterwards.

Nothing is assumed from a version or a name: a kernel may have a layer that a container or a policy forbids.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from holdfast.cli.doctor.findings import Finding
from holdfast.sandbox.kernel.cgroups import Groups

__all__ = ("isolation",)

_NEWNS, _NEWUSER, _NEWPID, _NEWNET, _NEWIPC = 0x20000, 0x10000000, 0x20000000, 0x40000000, 0x08000000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_LANDLOCK = 444
"""`landlock_create_ruleset`, the same number on every machine."""
_SET_SECCOMP, _FILTER = 22, 2
_PATIENCE = 5
"""Seconds that a trial may take."""
_UNKNOWN = 255
_GROUP = "isolation"


def isolation() -> list[Finding]:
    """Returns a finding for each layer."""
    if not sys.platform.startswith("linux"):
        return [Finding(_GROUP, "layers", "missing", f"{platform.system()}: commands are isolated on Linux only")]
    return [_namespaces(), _landlock(), _seccomp(), _cgroup(), _overlay(), _btrfs()]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _tried(trial: Callable[[], int]) -> int:
    """Runs a trial in a child process; returns 0, or the error number it failed with."""
    child = os.fork()
    if child == 0:
        code = _UNKNOWN
        try:
            signal.alarm(_PATIENCE)
            code = min(trial(), 254)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else _UNKNOWN


def _why(number: int) -> str:
    return os.strerror(number).lower() if number in errno.errorcode else "the trial was ended"


def _unshare(flags: int) -> int:
    libc = _libc()
    if os.geteuid() != 0:
        flags |= _NEWUSER
    return 0 if libc.unshare(flags) == 0 else ctypes.get_errno()


def _namespaces() -> Finding:
    user = _tried(lambda: 0 if _libc().unshare(_NEWUSER) == 0 else ctypes.get_errno())
    rest = _tried(lambda: _unshare(_NEWNS | _NEWPID | _NEWNET | _NEWIPC))
    if user == rest == 0:
        return Finding(_GROUP, "namespaces", "ok", "user, mount, process, network, IPC")
    if rest == 0:
        return Finding(_GROUP, "namespaces", "ok", f"mount, process, network, IPC; not user ({_why(user)})")
    hint = "allow them: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or the container's policy"
    return Finding(_GROUP, "namespaces", "missing", f"refused: {_why(user or rest)}", hint)


def _landlock() -> Finding:
    libc = _libc()
    version = libc.syscall(_LANDLOCK, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version >= 1:
        return Finding(_GROUP, "Landlock", "ok", f"ABI {version}")
    hint = "takes Linux 5.13 or later with landlock in the kernel's lsm= list"
    return Finding(_GROUP, "Landlock", "missing", _why(ctypes.get_errno()), hint)


def _seccomp() -> Finding:
    def trial() -> int:
        # A filter without a program is refused as a bad address where filters exist, as a bad argument where not.
        _libc().prctl(_SET_SECCOMP, _FILTER, None)
        number = ctypes.get_errno()
        return 0 if number == errno.EFAULT else number or _UNKNOWN

    failed = _tried(trial)
    if not failed:
        return Finding(_GROUP, "seccomp", "ok", "filters")
    return Finding(_GROUP, "seccomp", "missing", _why(failed), "takes a kernel with CONFIG_SECCOMP_FILTER")


def _cgroup(root: str = "/sys/fs/cgroup") -> Finding:
    """Says what a command's processes can be limited in together, found out as sandboxes do."""
    groups = Groups(root)
    limits = f"limits {', '.join(groups.kinds)}" if groups.kinds else "limits nothing"
    if not groups.missing:
        return Finding(_GROUP, "cgroup", "ok", limits)
    why = next(iter(groups.missing.values())).partition("): ")[0]
    found = f"{limits}; not {', '.join(groups.missing)}: {why})"
    return Finding(_GROUP, "cgroup", "warning", found, f"{_grouping(root, groups.missing)}; {_UNGROUPED}")


_UNGROUPED = "until then each process of a command has limits of its own, and all of them together have none"


def _grouping(root: str, missing: Iterable[str]) -> str:
    """Returns what to do so that these can be limited."""
    if Path(root, "cgroup.controllers").exists():
        return f"start holdfast as root, or in a container that may write to {root}"
    if trees := [f"{root}/{kind}/holdfast" for kind in missing if Path(root, kind).is_dir()]:
        places = " ".join(trees)
        return f"run this as root: mkdir -p {places} && chown {os.geteuid()} {places}"
    return f"mount control groups as root (mount -t cgroup2 none {root}), or start the container with them"


def _overlay() -> Finding:
    with tempfile.TemporaryDirectory(prefix="holdfast-doctor-") as folder:
        failed = _tried(lambda: _mount_overlay(folder))
    if not failed:
        rootless = "" if os.geteuid() == 0 else ", without root"
        return Finding(_GROUP, "overlay", "ok", f"can be mounted{rootless}")
    hint = "no changes come in after a command (workspace: apply); allow user namespaces, or load the overlay module"
    return Finding(_GROUP, "overlay", "missing", _why(failed), hint)


def _mount_overlay(folder: str) -> int:
    if number := _unshare(_NEWNS):
        return number
    libc = _libc()
    here = os.fsencode(folder)
    libc.mount(None, b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None)  # nothing of this is seen outside
    if libc.mount(b"tmpfs", here, b"tmpfs", ctypes.c_ulong(0), b"size=64k") != 0:
        return ctypes.get_errno()
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{folder}/{name}")  # noqa: PTH102 - a child that does one thing
    options = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (here, here, here)
    options += b"" if os.geteuid() == 0 and _same_user_space() else b",userxattr"
    done = libc.mount(b"overlay", here + b"/merged", b"overlay", ctypes.c_ulong(0), options)
    return 0 if done == 0 else ctypes.get_errno()


def _same_user_space() -> bool:
    """Whether root here is root of the machine, as far as a map of users shows."""
    return Path("/proc/self/uid_map").read_text("ascii").split()[:3] == ["0", "0", "4294967295"]


def _btrfs() -> Finding:
    kind = _kind_of(Path.cwd())
    if kind == "btrfs":
        return Finding(_GROUP, "btrfs", "ok", "this folder can be kept as a subvolume; runs keep files as `tree` does")
    where = f"this folder is on {kind or 'an unknown file system'}"
    return Finding(_GROUP, "btrfs", "missing", f"{where}; runs need none: they keep files as `tree` does")


def _mounts() -> list[tuple[str, str]]:
    """Places and kinds of what is mounted, the later ones over the earlier."""
    found: list[tuple[str, str]] = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        before, dash, after = line.partition(" - ")
        if dash and len(words := before.split()) > 4:
            found.append((words[4].replace("\\040", " "), after.split()[0]))
    return found


def _kind_of(folder: Path) -> str:
    path = f"{folder.resolve()}/"
    fitting = [
        (len(place), number, kind) for number, (place, kind) in enumerate(_mounts()) if path.startswith(_below(place))
    ]
    return max(fitting)[2] if fitting else ""


def _below(place: str) -> str:
    return place if place.endswith("/") else f"{place}/"
