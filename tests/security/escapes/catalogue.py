"""Every attempt by its name: what it is on, whose it would be, and how the host finds out whether it worked.

What the host can see it judges by that. Only where a right is all there is to get, such as a descriptor of a kernel
interface, the attempt's own word counts.
"""

from __future__ import annotations

import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tests.security.escapes.hosting import House
from tests.security.escapes.watching import GUEST

__all__ = ("ATTEMPTS", "HOST", "PROXY", "Attempt", "Effect", "Said")

Effect = Literal["host", "surface", "workspace", "resources"]
"""What it would be: an effect outside, rights on the kernel, files that others obey, more than was given."""
_MB = 1 << 20


class Said(NamedTuple):
    """What came back from inside."""

    ok: bool | None
    """Whether it says that it worked; None where it could not be tried."""
    evidence: str


Judge = Callable[[House, Said], bool]


class Attempt(NamedTuple):
    """One way out."""

    name: str
    kind: str
    effect: Effect
    worked: Judge
    alone: bool = False
    """Whether it takes so much that it gets a sandbox for itself."""


def _names(place: str) -> Judge:
    """It has read this secret."""
    return lambda house, said: house.secrets[place] in said.evidence


def _remembers(house: House, said: Said) -> bool:
    """It has read the beginning of the process's memory."""
    return house.secrets["memory"][:8] in said.evidence


def _left(name: str, *paths: str) -> Judge:
    """Its mark stands in a file of the host; paths begin in the house, `*` stands for the nonce."""

    def look(house: House, _: Said) -> bool:
        found = [house.base / path.replace("*", house.nonce) for path in paths]
        return any(house.mark(name) in _text(path) for path in found)

    return look


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _called(name: str) -> Judge:
    return lambda house, _: house.ears.hears(house.mark(name))


def _says(_: House, said: Said) -> bool:
    return said.ok is True


def _got(number: signal.Signals) -> Judge:
    return lambda house, _: house.signalled(number)


def _same_shadow(_: House, said: Said) -> bool:
    status = Path("/etc/shadow").stat()
    return said.evidence == f"{status.st_size} {status.st_mtime_ns}"


def _same_home(_: House, said: Said) -> bool:
    return said.ok is True and said.evidence.endswith(f" {Path('/root').stat().st_mtime_ns}")


def _linked(house: House, _: Said) -> bool:
    path = house.outside / "linked"
    return path.stat().st_nlink > 1 or house.nonce in path.read_text()


def _setuid(house: House, _: Said) -> bool:
    for path in (house.work / "roots", *house.work.glob("suid-*")):
        with suppress(OSError):
            status = path.stat()
            if status.st_uid == 0 and status.st_mode & stat.S_ISUID:
                return True
    return False


def _is_root(house: House, said: Said) -> bool:
    # Not by whose its files are: those belong to the owner of the workspace, whoever wrote them.
    seen = house.eyes.users
    return said.ok is True and 0 in seen.get("u", seen.get(GUEST, {0}))


def _is_urgent(house: House, said: Said) -> bool:
    seen = house.eyes.urgency
    return said.ok is True and seen.get("n", seen.get(GUEST, -1)) < 0


def _lives(house: House, _: Said) -> bool:
    return bool(house.eyes.daemons())


def _hook(house: House, _: Said) -> bool:
    hooks = (house.work / ".git").rglob("*")
    return any(house.mark("write_git_hook") in _text(path) for path in hooks if path.is_file())


def _config(house: House, _: Said) -> bool:
    found = [path for path in house.work.rglob("*") if path.is_file() and ".git/" not in str(path)]
    return any(house.mark("write_agent_config") in _text(path) for path in found)


def _so_many(house: House, said: Said) -> bool:
    return said.ok is True and house.eyes.most.get("f", 600) >= 600


def _so_much(letter: str, megabytes: int) -> Judge:
    # Some of it may be counted after the last look; a kernel of its own shows the host nothing at all.
    return lambda house, said: said.ok is True and house.eyes.bytes.get(letter, 1 << 40) > megabytes * _MB // 2


def _all(kind: str, effect: Effect, judges: dict[str, Judge], *, alone: bool = False) -> tuple[Attempt, ...]:
    return tuple(Attempt(name, kind, effect, judge, alone) for name, judge in judges.items())


_SECRET, _ARGUMENT = _names("secret"), _names("argument")
ATTEMPTS: Final = (
    *_all(
        "fs",
        "host",
        {
            "read_outside_abs": _SECRET,
            "read_shadow": _same_shadow,
            "list_root_home": _same_home,
            "write_usr": _left("write_usr", "/usr/*-usr"),
            "write_etc": _left("write_etc", "/etc/*-etc"),
            "write_outside": _left("write_outside", "outside/target", "outside/*-new"),
            "symlink_traversal": _SECRET,
            "hardlink_outside_file": _linked,
            "dotdot_traversal": _SECRET,
            "proc_root_magiclink": _SECRET,
            "proc_anypid_root_or_cwd": _SECRET,
            "inherited_fd_openat": _SECRET,
            "open_by_handle_at_shocker": _SECRET,
            "mknod_block_device": _says,
            "dev_mem_or_disk": _says,
            "core_pattern_write": _says,
            "sysrq_open": _says,
            "uevent_helper": _says,
            "cgroup_release_agent": _says,
            "cgroup_self_relimit": _says,
            "kcore": _says,
        },
    ),
    *_all(
        "fs",
        "surface",
        dict.fromkeys(("mount_bind", "mount_tmpfs_new_api", "kallsyms_addresses"), _says) | {"double_chroot": _SECRET},
    ),
    *_all("fs", "workspace", {"setuid_bit_on_host_root_file": _setuid}),
    *_all("fs", "workspace", {"write_agent_config": _config, "write_git_hook": _hook}),
    *_all(
        "proc",
        "host",
        {
            "see_host_process": _ARGUMENT,
            "signal_host": _got(signal.SIGUSR1),
            "signal_blind": _got(signal.SIGUSR2),
            "ptrace_host": _remembers,
            "process_vm_readv": _remembers,
            "read_host_environ": _names("environ"),
            "pidfd_getfd": _names("held"),
            "env_secret_leak": _names("leak"),
            "runs_as_host_uid0": _is_root,
            "setns_pid1": _says,
            "daemon_survives_exit": _lives,
        },
    ),
    *_all(
        "proc",
        "surface",
        dict.fromkeys(
            (
                "cap_effective",
                "no_new_privs_missing",
                "setuid0",
                "unshare_userns",
                "clone3_userns",
                "x32_abi_bypass",
                "i386_int80_bypass",
                "tiocsti",
                "keyring",
                "bpf",
                "perf_event_open",
                "userfaultfd",
                "io_uring",
                "init_module",
                "reboot_bad_magic",
                "iopl",
                "dmesg",
                "memfd_exec",
                "raise_rlimit",
            ),
            _says,
        )
        | {"raise_priority": _is_urgent},
    ),
    *_all(
        "net",
        "host",
        {
            "host_loopback_tcp": _called("host_loopback_tcp"),
            "route_to_internet": _says,
            "route_to_metadata": _says,
            "dns_sendto": _called("dns_sendto"),
            "ipv6_route": _called("ipv6_route"),
            "abstract_unix_host": _called("abstract_unix_host"),
            "path_unix_host": _called("path_unix_host"),
        },
    ),
    *_all(
        "net",
        "surface",
        dict.fromkeys(("raw_socket", "packet_socket", "netlink_socket", "vsock_socket", "alg_socket"), _says),
    ),
    *_all("ipc", "host", {"sysv_shm": _names("shared"), "dev_shm_file": _names("shmfile")}),
    *_all(
        "res",
        "resources",
        {
            "fork_bomb_600": _so_many,
            "memory_1500MB": _so_much("m", 1500),
            "memory_many_processes": _so_much("p", 1200),
            "disk_fill_700MB": _says,
            "inode_fill_20k": _says,
            "fd_15k": _says,
            "cpu_unlimited": _says,
            "dev_shm_fill_300MB": _says,
            "tmp_and_pipe_buffers_fill": _says,
        },
        alone=True,
    ),
)
"""Those made from inside, in the order in which they are made."""

HOST: Final = (
    "symlink_swap_during_commit",
    "fifo_or_device_in_commit",
    "terminal_escape_in_output",
    "output_flood",
    "gitattributes_filter_or_fsmonitor",
    "pickle_or_conftest_run_by_host",
    "snapshot_poisoning",
)
"""Those made on whoever reads afterwards what was left there (`lures.py`)."""

PROXY: Final = (
    "null_byte_host",
    "ip_literal",
    "decimal_or_octal_ip",
    "ipv4_mapped_ipv6",
    "trailing_dot_and_case",
    "userinfo_in_authority",
    "dns_rebinding",
    "connect_to_loopback",
    "connect_to_metadata",
    "host_vs_connect_mismatch",
    "sni_mismatch_fronting",
    "cl_te_smuggling",
    "encoded_slash_path",
    "copied_allowed_binary",
    "exec_after_connect",
)
"""Those made on the proxy, in the tests of it (`tests/security/test_egress_*.py`)."""
assert len(ATTEMPTS) + len(HOST) + len(PROXY) == 104
