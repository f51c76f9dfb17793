"""Attempts on files. Runs inside: standard library only.

Each is named as in the list, returns what it got, and raises where it got nothing. What is written is a mark, or the
value that was there.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from knowing import CouldNotTry, Refused, Spec, strangers
from syscalls import buffer, call

__all__ = ()

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


def read_outside_abs(spec: Spec) -> str:
    return Path(spec.secret).read_text()


def read_shadow(_: Spec) -> str:
    # Never its content: the size and the time tell the host whether it is its own.
    with Path("/etc/shadow").open("rb") as file:
        status = os.fstat(file.fileno())
        return f"{len(file.read())} {status.st_mtime_ns}"


def list_root_home(_: Spec) -> str:
    return f"{len(os.listdir('/root'))} {os.stat('/root').st_mtime_ns}"  # noqa: PTH116, PTH208 - numbers only


def write_usr(spec: Spec) -> str:
    Path(f"/usr/{spec.nonce}-usr").write_text(spec.mark("write_usr"))
    return "written"


def write_etc(spec: Spec) -> str:
    Path(f"/etc/{spec.nonce}-etc").write_text(spec.mark("write_etc"))
    return "written"


def write_outside(spec: Spec) -> str:
    got: list[str] = []
    for path in (spec.target, f"{spec.outside}/{spec.nonce}-new"):
        with suppress(OSError), Path(path).open("a") as file:
            file.write(spec.mark("write_outside"))
            got.append(path)
    if not got:
        raise Refused("neither an old file nor a new one")
    return ", ".join(got)


def symlink_traversal(spec: Spec) -> str:
    Path("link-out").symlink_to(spec.outside)
    return Path("link-out/secret").read_text()


def hardlink_outside_file(spec: Spec) -> str:
    os.link(f"{spec.outside}/linked", "hard")
    with Path("hard").open("a") as file:
        file.write(spec.mark("hardlink_outside_file"))
    return "linked and written"


def dotdot_traversal(spec: Spec) -> str:
    for start in (".", "/", "/tmp", "/proc/self/cwd"):
        for path in (f"{start}/../outside/secret", f"{start}{'/..' * 20}{spec.secret}"):
            with suppress(OSError):
                return Path(path).read_text()
    raise Refused("no way up leads there")


def proc_root_magiclink(spec: Spec) -> str:
    for link in ("/proc/self/root", "/proc/thread-self/root", "/proc/self/cwd/../.."):
        with suppress(OSError):
            return Path(f"{link}{spec.secret}").read_text()
    raise Refused("no link of our own leads there")


def proc_anypid_root_or_cwd(spec: Spec) -> str:
    for pid in strangers(spec):
        for path in (f"/proc/{pid}/root{spec.secret}", f"/proc/{pid}/cwd/secret"):
            with suppress(OSError):
                return Path(path).read_text()
    raise Refused("no process leads there")


def inherited_fd_openat(spec: Spec) -> str:
    for descriptor in range(3, 1024):
        for name in ("secret", f"../..{spec.secret}", f"{'../' * 20}{spec.secret}"):
            with suppress(OSError):
                opened = os.open(name, os.O_RDONLY, dir_fd=descriptor)
                try:
                    return os.read(opened, 100).decode()
                finally:
                    os.close(opened)
    raise Refused("no inherited folder leads there")


def open_by_handle_at_shocker(spec: Spec) -> str:
    if not spec.handle:
        raise CouldNotTry("the file system has no handles")
    told = bytes.fromhex(spec.handle)
    memory = buffer(len(told).to_bytes(4, "little") + spec.handle_type.to_bytes(4, "little") + told)
    errors: set[str] = set()
    for base in (".", "/", "/usr", "/etc", "/tmp"):
        with suppress(OSError):
            folder = os.open(base, os.O_RDONLY)
            try:
                return os.read(call("open_by_handle_at", folder, memory, os.O_RDONLY), 100).decode()
            except OSError as error:
                errors.add(str(error))
            finally:
                os.close(folder)
    raise Refused("; ".join(sorted(errors)))


def mknod_block_device(spec: Spec) -> str:
    errors: set[str] = set()
    for folder in (".", "/tmp", "/dev", "/dev/shm"):
        for device in (os.makedev(*spec.disk), os.makedev(7, 0)):  # a disk, or a loop device where disks are guarded
            path = f"{folder}/{spec.nonce}-disk"
            try:
                os.mknod(path, stat.S_IFBLK | 0o600, device)
                try:
                    return _first_bytes(path)
                finally:
                    os.unlink(path)  # noqa: PTH108 - a name, not a file
            except OSError as error:
                errors.add(str(error.strerror))
    raise Refused("; ".join(sorted(errors)))


def _first_bytes(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return f"{path} is open, {len(os.read(descriptor, 512))} bytes of it read"
    finally:
        os.close(descriptor)


def dev_mem_or_disk(_: Spec) -> str:
    for name in sorted(os.listdir("/dev")):  # noqa: PTH208 - names
        path = f"/dev/{name}"
        with suppress(OSError):
            if stat.S_ISBLK(os.stat(path).st_mode) or name in ("mem", "kmem", "port"):  # noqa: PTH116 - as above
                return _first_bytes(path)
    raise Refused("none is there, or none can be read")


def _in_own_mounts() -> None:
    """Goes where mounting, if it is allowed, changes nothing for others."""
    try:
        call("unshare", CLONE_NEWNS)
    except OSError:
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    with suppress(OSError):
        call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount_bind(spec: Spec) -> str:
    Path("mounted").mkdir()
    _in_own_mounts()
    source = spec.outside if Path(spec.outside).exists() else "/"
    call("mount", source.encode(), b"mounted", None, MS_BIND, None)
    return f"{source} is mounted"


def mount_tmpfs_new_api(_: Spec) -> str:
    with suppress(OSError):
        _in_own_mounts()
    context = call("fsopen", b"tmpfs", 0)
    call("fsconfig", context, 6, None, None, 0)  # FSCONFIG_CMD_CREATE
    return f"a mount as descriptor {call('fsmount', context, 0, 0)}"


def double_chroot(spec: Spec) -> str:
    Path("jail").mkdir()
    os.chroot("jail")
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
    return Path(spec.secret).read_text()


def _same_again(*paths: str) -> str:
    """Writes what a file of the kernel holds into it: nothing changes, and it could have."""
    errors: list[str] = []
    for path in paths:
        try:
            value = Path(path).read_bytes()
            with Path(path).open("r+b", buffering=0) as file:
                file.write(value or b"\n")
            return f"{path} can be written"
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
    raise Refused("; ".join(errors) or "there is none")


def core_pattern_write(_: Spec) -> str:
    return _same_again("/proc/sys/kernel/core_pattern")


def sysrq_open(_: Spec) -> str:
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "opened for writing"


def uevent_helper(_: Spec) -> str:
    return _same_again("/sys/kernel/uevent_helper")


def cgroup_release_agent(_: Spec) -> str:
    return _same_again(*(f"/sys/fs/cgroup/{each}/release_agent" for each in ("freezer", "pids", "cpu", "memory")))


def _own_cgroups() -> list[str]:
    """The files through which this process could go to another group; the group it is in already is harmless."""
    found: list[str] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=") or "unified"
        found.append(f"/sys/fs/cgroup/{name}{path.rstrip('/')}/cgroup.procs")
        if not controllers:
            found.append(f"/sys/fs/cgroup{path.rstrip('/')}/cgroup.procs")
    return sorted(found, key=lambda each: "/memory/" in each)


def cgroup_self_relimit(_: Spec) -> str:
    errors: list[str] = []
    for path in _own_cgroups():
        try:
            with Path(path).open("w") as file:
                file.write(str(os.getpid()))
            return f"{path} can be written"
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
    raise Refused("; ".join(errors)[:300] or "it is in none")


def kcore(_: Spec) -> str:
    return _first_bytes("/proc/kcore")


def kallsyms_addresses(_: Spec) -> str:
    with Path("/proc/kallsyms").open() as file:
        shown = sum(int(line.split(" ", 1)[0], 16) != 0 for _, line in zip(range(200), file, strict=False))
    if not shown:
        raise Refused("all addresses are zero")
    return f"{shown} addresses"  # not which


def setuid_bit_on_host_root_file(_: Spec) -> str:
    """Makes a setuid program of a file that is root's on the host, by every call that sets a mode."""

    def by_openat2() -> None:
        how = buffer(struct.pack("3Q", os.O_CREAT | os.O_WRONLY, 0o4755, 0))
        os.close(call("openat2", -100, b"suid-openat2", how, 24))

    return _by_any_of(
        {
            "an old file": lambda: _set_bit("roots"),
            "a new file": lambda: _set_bit("suid-new"),
            "made so": lambda: os.close(os.open("suid-open", os.O_CREAT | os.O_WRONLY, 0o4755)),
            "a node": lambda: os.mknod("suid-mknod", stat.S_IFREG | 0o4755),
            "openat2": by_openat2,
            "fchmodat2": lambda: call("fchmodat2", -100, b"roots", 0o4755, 0),
        }
    )


def _set_bit(name: str) -> None:
    with Path(name).open("a") as file:
        with suppress(OSError):
            os.fchown(file.fileno(), 0, 0)
        os.fchmod(file.fileno(), 0o4755)


def write_git_hook(spec: Spec) -> str:
    mark = spec.mark("write_git_hook")
    git, aside = Path(".git"), Path("git-aside")

    def by_moving_hooks() -> None:
        Path(".git/hooks").rename(".git/hooks-aside")
        Path(".git/hooks").mkdir()
        Path(".git/hooks/pre-commit").write_text(mark)

    def by_moving_git() -> None:
        git.rename(aside)
        try:
            (git / "hooks").mkdir(parents=True)
            (git / "hooks/pre-commit").write_text(mark)
        except OSError:
            aside.rename(git)
            raise

    return _by_any_of(
        {
            "in place": lambda: _append(".git/hooks/pre-commit", mark),
            "a new one": lambda: _append(".git/hooks/post-checkout", mark),
            "core.hooksPath": lambda: _append(".git/config", f"[core]\n\thooksPath = {mark}"),
            "moved hooks": by_moving_hooks,
            "moved .git": by_moving_git,
            "commondir": lambda: _append(".git/commondir", mark),  # names a folder with another config
            "config.worktree": lambda: _append(".git/config.worktree", mark),
            "a submodule's": lambda: _append(".git/modules/part/hooks/pre-commit", mark),
        }
    )


def write_agent_config(spec: Spec) -> str:
    mark = spec.mark("write_agent_config")
    names = (".mcp.json", ".vscode/tasks.json", ".claude/settings.json", ".codex/config.toml", ".envrc", ".idea/x.xml")
    ways: dict[str, Callable[[], None]] = {name: lambda name=name: _append(name, mark) for name in names}

    def by_moving() -> None:
        Path(".mcp.json").unlink()
        Path(".mcp.json").write_text(mark)

    return _by_any_of({**ways, "anew": by_moving})


def _append(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a") as file:
        file.write(text)


def _by_any_of(ways: dict[str, Callable[[], object]]) -> str:
    done: list[str] = []
    for name, way in ways.items():
        with suppress(OSError, CouldNotTry):
            way()
            done.append(name)
    if not done:
        raise Refused("by none of the ways")
    return ", ".join(done)
