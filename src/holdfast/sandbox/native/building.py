"""Makes the process it runs in the first process of a sandbox, step by step, so that nothing leads back.

The order is the point. Under root: mounts are made while there are rights to make them, in a mount namespace that
belongs to the machine's root, so that nobody inside may ever change them; then the process becomes a user nobody else
is, and only then gets a user namespace: whatever it is root of in there is nobody outside. Without root it is the
other way round: the user namespace comes first and brings the rights for the rest. Then all rights are dropped, no
more can be gained, Landlock, and seccomp at the very end, since each step takes away what the one before it needed.

Everything mounted is copied (`open_tree`) before anything is mounted, so that no mount hides the source of another
one. Paths inside a workspace are hostile: they are opened without following links, below the workspace, and mounted
by descriptor.

Loaded by the launcher: the standard library and `sandbox/kernel/` only.
"""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
from collections.abc import Callable
from fcntl import ioctl
from typing import Any

from holdfast.sandbox.kernel import landlock, seccomp, syscalls
from holdfast.sandbox.kernel.cgroups import Group

__all__ = ("PLACE", "Step", "begin", "build", "keep_mounts", "limit", "map_ids", "namespaces", "place_mounts")

Step = list[str]
"""Says how far the building came, for whoever reads why it failed."""

PLACE = "/tmp"
"""Where the root of a sandbox is put together, in a mount namespace of its own."""
_COPIED = ("ro", "rw", "dev", "layer")
"""Kinds of mounts that are copies of what is mounted outside."""
_UNSAFE = syscalls.MS_NOSUID | syscalls.MS_NODEV
_LOOPBACK_UP = struct.pack("16sH14x", b"lo", 0x49)
_SIOCSIFFLAGS = 0x8914


def namespaces(*, rootless: bool) -> int:
    """Returns the flags of the namespaces that a sandbox's first process is born into.

    The one of mounts is not among them: it shows what was mounted when it was made, and that may be long before the
    sandbox is.
    """
    flags = sum(syscalls.NAMESPACES.values()) - syscalls.NEWNS
    return flags if rootless else flags - syscalls.NEWUSER


def begin(group: Group | None, step: Step) -> None:
    """Does what needs no plan, in a process that was born into its namespaces.

    Raises:
        OSError: as `build`.
    """
    step[:] = ["cgroup"]
    if group is not None:
        group.join()
    step[:] = ["network"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        ioctl(any_socket, _SIOCSIFFLAGS, _LOOPBACK_UP)
    syscalls.set_host_name("sandbox")


def keep_mounts() -> None:
    """Sees to it that what is mounted in this process's namespace is mounted nowhere else."""
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def build(plan: dict[str, Any], owners: int, filter: bytes, step: Step) -> socket.socket | None:
    """Builds the sandbox around this process, which has begun, by its plan (`planning.py`).

    Returns the listener for what wants out, where the plan names a port. A layer in the plan is left open in it, as
    `changes`.

    `owners` is a descriptor of the user namespace that maps the owner of the workspace to the sandbox's user, 0 for
    none; `filter` is the seccomp program.

    Raises:
        OSError: a step is not possible here; `step` names it.
    """
    rootless = bool(plan["rootless"])
    if rootless:
        step[:] = ["user namespace"]
        map_ids(plan["uid"], plan["gid"], plan["kuid"], plan["kgid"])
    step[:] = ["mounts"]
    syscalls.unshare(syscalls.NEWNS)
    keep_mounts()
    _make_root(plan["mounts"], owners)
    step[:] = ["network"]
    listener = _listen(port) if (port := plan.get("listen", 0)) else None
    step[:] = ["user"]
    if not rootless:
        _become(plan["kuid"])
        syscalls.unshare(syscalls.NEWUSER)
        map_ids(plan["uid"], plan["gid"], plan["kuid"], plan["kgid"])
    step[:] = ["limits"]
    limit(plan["rlimits"])
    step[:] = ["rights"]
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if plan["landlock"]:
        step[:] = ["landlock"]
        ruleset = landlock.build([(path, access) for path, access in plan["landlock"]])
        landlock.restrict(ruleset)
        os.close(ruleset)
    os.chdir(plan["cwd"])
    # Nobody in there may look into this process; and it dies with the launcher.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    step[:] = ["seccomp"]
    seccomp.install(filter)
    return listener


def map_ids(uid: int, gid: int, real_uid: int, real_gid: int) -> None:
    """Says who this process is in the user namespace that it is in since a moment."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {real_uid} 1"), ("gid_map", f"{gid} {real_gid} 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _become(kuid: int) -> None:
    os.setgroups([])
    os.setresgid(kuid, kuid, kuid)
    os.setresuid(kuid, kuid, kuid)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # or its own id maps cannot be written


# ---- the file system -------------------------------------------------------------------------------------------


def place_mounts(mounts: list[dict[str, Any]], owners: int) -> None:
    """Puts a root together at `PLACE`, in a mount namespace that is this process's own and keeps its mounts."""
    copies = {number: _copy(each, owners) for number, each in enumerate(mounts) if each["kind"] in _COPIED}
    syscalls.mount("sandbox", PLACE, "tmpfs", _UNSAFE, "size=1m,nr_inodes=4096,mode=755")
    for number, each in enumerate(mounts):
        path = f"{PLACE}{each['path']}"
        if each["kind"] == "layer":
            _mount_layer(path, each, *copies[number])
        elif number in copies:
            _place(copies[number], path)
        else:
            _MAKERS[each["kind"]](path, each)
        if each["kind"] in ("rw", "layer"):
            _protect(path, each.get("protect", ()))
        if hidden := each.get("hide"):
            _hide(path, hidden)


def _make_root(mounts: list[dict[str, Any]], owners: int) -> None:
    place_mounts(mounts, owners)
    os.chdir(PLACE)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".")
    os.chdir("/")
    syscalls.mount_attributes("/", syscalls.ATTR_RDONLY)


def _copy(each: dict[str, Any], owners: int) -> tuple[int, bool]:
    """Returns a copy of a mount with its attributes, and whether it is a folder."""
    source = each["path"] if each.get("owned") else each.get("source", each["path"])
    tree = _open_owned(source) if each.get("owned") else syscalls.open_tree(source, recursive=each["kind"] != "dev")
    attributes = syscalls.ATTR_NOSUID
    if each["kind"] != "dev":
        attributes |= syscalls.ATTR_NODEV
    if each["kind"] in ("ro", "layer"):
        attributes |= syscalls.ATTR_RDONLY
    syscalls.mount_attributes(tree, attributes, recursive=True)
    if each.get("owned") and owners:
        try:
            syscalls.mount_attributes(tree, syscalls.ATTR_IDMAP, userns=owners)
        except OSError as error:
            why = "its file system does not let files be shown as another user's: keep it on ext4, xfs, btrfs or tmpfs"
            raise OSError(error.errno, f"{source}: {why}") from error
    return tree, stat.S_ISDIR(os.fstat(tree).st_mode)


def _open_owned(path: str) -> int:
    """Returns a copy of the workspace; a link on the way, which somebody may have put there, is not followed."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        there = syscalls.open_beneath(root, path.lstrip("/"), os.O_PATH | os.O_DIRECTORY)
        try:
            return syscalls.open_tree(there, recursive=True)
        finally:
            os.close(there)
    finally:
        os.close(root)


def _place(copy: tuple[int, bool], path: str) -> None:
    tree, is_folder = copy
    _make_mount_point(path, folder=is_folder)
    syscalls.move_mount(tree, path)
    os.close(tree)


def _make_mount_point(path: str, *, folder: bool) -> None:
    if os.path.lexists(path):
        return
    os.makedirs(path if folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not folder:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _mount_layer(path: str, each: dict[str, Any], lower: int, _: bool) -> None:
    """Mounts a folder under a layer in memory that takes what is changed, and opens that for the runtime."""
    private = f"{PLACE}/.layer"
    for name in ("lower", "upper"):
        os.makedirs(f"{private}/{name}")
    syscalls.move_mount(lower, f"{private}/lower")
    _mount_memory(f"{private}/upper", {**each, "mode": "755"})
    status = os.stat(f"{private}/lower")
    for name in ("changes", "work"):
        os.mkdir(f"{private}/upper/{name}")
        if "uid" in each:
            os.chown(f"{private}/upper/{name}", each["uid"], each["uid"])
    os.chmod(f"{private}/upper/changes", status.st_mode & 0o777)
    os.makedirs(path, mode=0o755, exist_ok=True)
    options = f"lowerdir={private}/lower,upperdir={private}/upper/changes,workdir={private}/upper/work"
    options += ",index=off" + (",userxattr" if each["userxattr"] else ",redirect_dir=off,metacopy=off")
    syscalls.mount("layer", path, "overlay", _UNSAFE, options)
    each["changes"] = os.open(f"{private}/upper/changes", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in ("lower", "upper"):
        syscalls.umount(f"{private}/{name}")
    os.close(lower)


def _protect(workspace: str, paths: list[str]) -> None:
    """Makes paths of the workspace read-only, and keeps the folders they lie in from being moved away."""
    root = os.open(workspace, os.O_PATH | os.O_CLOEXEC)
    held: set[str] = set()
    try:
        for path in paths:
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                part = "/".join(parts[:depth])
                if part not in held and not _hold(root, part, final=depth == len(parts)):
                    break
                held.add(part)
    finally:
        os.close(root)


def _hold(root: int, path: str, *, final: bool) -> bool:
    """Mounts a path onto itself, also one that is a link; False where there is none.

    Raises:
        OSError: it cannot be held, such as when a link came to be on the way since it was looked at.
    """
    try:
        there = syscalls.open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        tree = syscalls.open_tree(there, recursive=True)
        if final or not stat.S_ISDIR(os.fstat(there).st_mode):  # a file or link in a folder's place leads elsewhere
            syscalls.mount_attributes(tree, syscalls.ATTR_RDONLY, recursive=True)
        syscalls.move_mount(tree, there)
        os.close(tree)
    finally:
        os.close(there)
    return True


def _hide(place: str, paths: list[str]) -> None:
    """Covers paths with something empty that nobody may open, and keeps the folders they lie in from being moved away.

    Raises:
        OSError: one of them is not there, or a link is on the way.
    """
    blank = f"{PLACE}/.blank"
    root = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        for path in paths:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                _hold(root, "/".join(parts[:depth]), final=False)
            there = syscalls.open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
            is_folder = stat.S_ISDIR(os.fstat(there).st_mode)
            if is_folder:
                os.mkdir(blank, 0)
            else:
                os.close(os.open(blank, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0))
            tree = syscalls.open_tree(blank, recursive=False)
            syscalls.mount_attributes(tree, syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV)
            syscalls.move_mount(tree, there)
            for each in (tree, there):
                os.close(each)
            (os.rmdir if is_folder else os.unlink)(blank)
    finally:
        os.close(root)


def _mount_memory(path: str, each: dict[str, Any]) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)
    options = [f"mode={each.get('mode', '1777')}", f"size={each['size']}", f"nr_inodes={each['inodes']}"]
    if "uid" in each:
        options += [f"uid={each['uid']}", f"gid={each['uid']}"]
    syscalls.mount("memory", path, "tmpfs", _UNSAFE, ",".join(options))


def _mount_processes(path: str, _: dict[str, Any]) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)
    syscalls.mount("proc", path, "proc", _UNSAFE | syscalls.MS_NOEXEC)


def _mount_terminals(path: str, _: dict[str, Any]) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)
    syscalls.mount(
        "devpts", path, "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"
    )


def _link(path: str, each: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    os.symlink(each["target"], path)


def _write(path: str, each: dict[str, Any]) -> None:
    """Puts a file of ours over one that is there, or where the root is ours to fill."""
    source = path if not os.path.lexists(path) else f"{PLACE}/.{os.path.basename(path)}"
    os.makedirs(os.path.dirname(source), mode=0o755, exist_ok=True)
    with open(source, "w", encoding="utf-8") as file:
        file.write(each["text"])
    if source != path:
        syscalls.mount(source, path, flags=syscalls.MS_BIND)


def _make_folder(path: str, _: dict[str, Any]) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)


_MAKERS: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "memory": _mount_memory,
    "processes": _mount_processes,
    "terminals": _mount_terminals,
    "link": _link,
    "file": _write,
    "folder": _make_folder,
}


# ---- the rest --------------------------------------------------------------------------------------------------


def _listen(port: int) -> socket.socket:
    """Listens on a port of the loopback for what wants out."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def limit(limits: dict[str, int]) -> None:
    """Limits this process, and all it starts, by the names of limits in lower case."""
    for name, wanted in limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        _, hard = resource.getrlimit(number)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # At the softer limit of CPU comes a signal that says so, and a second later the one that says nothing.
        soft = most - 1 if name == "cpu" else most
        resource.setrlimit(number, (soft, most))
