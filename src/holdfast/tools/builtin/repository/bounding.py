"""What the git of the tool can open at all, whatever leads it there: rules of the kernel's (Landlock).

The look at a repository (`finding.py`) is over before git starts, and a process that goes on in the sandbox may put
links into `.git` after it. So git is started under rules: it writes only where its command has to (nothing for a look,
the repository's own folder for a commit, its files, too, for a checkout), reads the workspace and what comes with the
system's programs, and starts no program of the workspace. Folders of the workspace are opened without following links,
so that what is put in their place gains nothing.

Who speaks with a remote reads more: certificates, who the hosts are, and a folder that is the remote, which it also
writes when it pushes. Where the workspace's environment names programs for that (`GIT_SSH_COMMAND` and the like), what
those read is not known here, so reading is free then; writing is not.

Where the kernel has no Landlock there is the look alone. What lies in the workspace is not kept from git either: a link
that is put there after the look may lead a command that writes to another file of what it may write.
"""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.kernel import landlock, syscalls
from holdfast.sandbox.kernel.bounding import start_within
from holdfast.sandbox.processes import Within

__all__ = ("Need", "bounded", "can_bound", "folders_of")

_LEAST: Final = 2
"""The version of Landlock from which on a file can be moved to another folder, as git does."""
_SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"),
    *("/nix/store", "/gnu/store", "/run/current-system", "/var/lib/sss/mc"),
    *("/proc/cpuinfo", "/proc/filesystems", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu"),
)
"""Programs and what they find out about the machine."""
_SETTINGS: Final = (
    *("alternatives", "group", "host.conf", "hosts", "gai.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("localtime", "nsswitch.conf", "passwd", "protocols", "resolv.conf", "services"),
)
"""What programs need of `/etc` to start, and to find a host."""
_TRUST: Final = (
    *("ca-certificates", "crypto-policies", "gnutls", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs"),
    *("pki/tls/openssl.cnf", "ssh/ssh_known_hosts", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf"),
)
"""What says there which remotes are who they say."""
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_BESIDE: Final = ("lib", "lib64", "libexec")
"""What lies beside the folder of a git that was not installed with the system."""
_GIVEN: Final = (
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY"),
    *("CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
)
"""Variables of the workspace's that name a file or folder to read."""
_OTHERS: Final = ("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND")
"""Those that name a program, which reads what it wants."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What one command of git's has to do with files."""

    space: Path
    """The workspace, which it reads."""
    writes: tuple[Path, ...] = ()
    """Folders in there that it changes."""
    programs: tuple[str, ...] = ()
    """Folders and files of programs, besides those of the system."""
    anything: bool = False
    """Whether it reads everything, because nobody knows what its programs need."""
    remotes: tuple[Path, ...] = ()
    """Folders elsewhere that it reads, and changes when it `pushes`."""
    pushes: bool = False
    asks: Mapping[str, str] | None = None
    """The variables that the workspace sets, where it speaks with a remote."""


def can_bound() -> bool:
    """Whether the kernel has such rules."""
    return sys.platform == "linux" and landlock.abi() >= _LEAST


@contextmanager
def bounded(need: Need) -> Generator[tuple[Within | None, dict[str, str]]]:
    """Gives what starts a command under the rules, None where the kernel has none, and variables it is to be given.

    Raises:
        PathEscape: something that it would write was replaced by a link.
        SandboxError: the rules cannot be made.
    """
    if not can_bound():
        yield None, {}
        return
    with ExitStack() as ending:
        rules: list[tuple[str | int, int]] = [(each, landlock.CHANGE) for each in _DEVICES]
        rules += [(each, landlock.READ) for each in _read(need)]
        rules += [(_open(each, ending), right) for each, right in _own(need)]
        given: dict[str, str] = {}
        if need.pushes and need.remotes:
            rules += [(str(each), landlock.WRITE) for each in need.remotes]
            # For the hooks of the remote, which was allowed.
            given["TMPDIR"] = ending.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-git-"))
            rules.append((given["TMPDIR"], landlock.WRITE))
        try:
            ruleset = landlock.build(rules)
        except OSError as error:
            raise SandboxError(f"git was not run: what it may open cannot be bounded ({error})") from error
        ending.callback(os.close, ruleset)
        yield partial(start_within, ruleset), given


def _own(need: Need) -> list[tuple[Path, int]]:
    return [(need.space, landlock.LOOK), *((each, landlock.CHANGE) for each in need.writes)]


def _open(path: Path, ending: ExitStack) -> int:
    """Returns a folder of the workspace, to which no link leads."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        found = syscalls.open_beneath(root, str(path).lstrip("/") or ".", os.O_PATH)
    except OSError as error:
        raise PathEscape(f"git was not run: {str(path)!r} was replaced meanwhile; look at it in bash") from error
    finally:
        os.close(root)
    ending.callback(os.close, found)
    return found


def _read(need: Need) -> Generator[str, None, None]:
    free = need.anything or any((need.asks or {}).get(each) for each in _OTHERS)
    if free:
        yield "/"
        return
    yield from _SYSTEM
    yield from need.programs
    yield from (f"/etc/{each}" for each in _SETTINGS)
    yield from map(str, need.remotes)
    if need.asks is not None:
        yield from (f"/etc/{each}" for each in _TRUST)
        yield from (path for each in _GIVEN if (path := need.asks.get(each, "")))
        with suppress(KeyError):  # it has no entry, and so no hosts it knows
            yield from (f"{pwd.getpwuid(os.geteuid()).pw_dir}/.ssh/{each}" for each in ("known_hosts", "known_hosts2"))


def folders_of(program: str, path: str) -> tuple[str, ...]:
    """Returns the folders on a PATH, that of a program wherever its link leads, and what lies beside that one."""
    own = Path(program).resolve().parent
    found = (str(own), *(str(own.parent / each) for each in _BESIDE), *path.split(os.pathsep))
    return tuple(each for each in found if each.strip("/"))
