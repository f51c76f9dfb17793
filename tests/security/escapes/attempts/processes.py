"""Attempts on other processes, and on rights of our own. Runs inside: standard library only.

Each is named as in the list. What is done to a process is done to the canary, or to children of our own.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from knowing import CouldNotTry, Refused, Spec, call_myself, strangers
from syscalls import X86, buffer, call, libc, must

__all__ = ()

CLONE_NEWUSER = 0x10000000
ENOEXEC, EFAULT, EINVAL = 8, 14, 22
PTRACE_PEEKDATA, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 2, 17, 0x4206, 0x4207


def see_host_process(spec: Spec) -> str:
    for pid in strangers(spec):
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"canary" in line:
                return line.replace(b"\0", b" ").decode(errors="replace")
    raise Refused("it is not to be seen")


def signal_host(spec: Spec) -> str:
    if not Path(f"/proc/{spec.pid}/cmdline").exists():
        raise Refused("there is no such process")
    os.kill(spec.pid, signal.SIGUSR1)
    return "sent"


def signal_blind(spec: Spec) -> str:
    if Path(f"/proc/{spec.pid}").exists() and b"canary" not in Path(f"/proc/{spec.pid}/cmdline").read_bytes():
        raise Refused("that number is somebody else in here")
    os.kill(spec.pid, signal.SIGUSR2)
    return "sent"


def ptrace_host(spec: Spec) -> str:
    call("ptrace", PTRACE_SEIZE, spec.pid, 0, 0)
    try:
        call("ptrace", PTRACE_INTERRUPT, spec.pid, 0, 0)
        os.waitpid(spec.pid, 0x40000000)  # __WALL
        word = buffer(8)
        call("ptrace", PTRACE_PEEKDATA, spec.pid, spec.address, word)
        return bytes(word.raw).decode(errors="replace")
    finally:
        call("ptrace", PTRACE_DETACH, spec.pid, 0, 0)


def process_vm_readv(spec: Spec) -> str:
    import ctypes

    into = buffer(16)
    local = buffer(struct.pack("QQ", ctypes.addressof(into), 16))
    remote = buffer(struct.pack("QQ", spec.address, 16))
    call("process_vm_readv", spec.pid, local, 1, remote, 1, 0)
    return bytes(into.raw).decode(errors="replace")


def read_host_environ(spec: Spec) -> str:
    return Path(f"/proc/{spec.pid}/environ").read_text(errors="replace")[-400:]


def pidfd_getfd(spec: Spec) -> str:
    theirs = call("pidfd_open", spec.pid, 0)
    ours = call("pidfd_getfd", theirs, spec.descriptor, 0)
    return os.pread(ours, 100, 0).decode()


def env_secret_leak(spec: Spec) -> str:
    """Looks where a parent's variables may have been left: ours, our ancestors' in here, everybody's in here."""
    found = [f"{key}={value}" for key, value in os.environ.items() if "CANARY" in key]
    inside = Path("/proc/self/ns/pid").exists() and Path("/proc/self/ns/pid").readlink().name != spec.pidns
    pids = [*strangers(spec)][1:] if inside else [os.getppid()]
    for pid in ("self", *pids):
        with suppress(OSError):
            parts = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
            found += [part for part in parts if "CANARY" in part]
    if not found:
        raise Refused("no such variable")
    return " ".join(sorted(set(found)))[:400]


def cap_effective(_: Spec) -> str:
    held = {key: int(_status(key), 16) for key in ("CapEff", "CapPrm", "CapAmb")}
    if not any(held.values()):
        raise Refused("none")
    return ", ".join(f"{key} {value:x}" for key, value in held.items())


def _status(key: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    raise CouldNotTry(f"/proc/self/status has no {key}")


def no_new_privs_missing(_: Spec) -> str:
    try:
        missing = call("prctl", 39, 0, 0, 0, 0) == 0  # PR_GET_NO_NEW_PRIVS
    except CouldNotTry:
        missing = _status("NoNewPrivs") == "0"
    if not missing:
        raise Refused("it is set")
    return "a setuid program would still gain rights"


def runs_as_host_uid0(spec: Spec) -> str:
    # The host looks whose process this is while it waits.
    call_myself(f"u{spec.nonce}")
    time.sleep(0.3)
    return f"uid {os.getuid()} in here"


def setuid0(_: Spec) -> str:
    os.setgid(0)
    os.setuid(0)
    return f"uid {os.geteuid()}"


def unshare_userns(_: Spec) -> str:
    return f"unshare answered {call('unshare', CLONE_NEWUSER)}"


def clone3_userns(_: Spec) -> str:
    arguments = buffer(struct.pack("8Q", CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    child = call("clone3", arguments, 64)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child in a namespace of its own"


def x32_abi_bypass(_: Spec) -> str:
    if not X86:
        raise CouldNotTry("only x86-64 has it")
    return f"getpid answered {call(0x40000000 | 39)}"


def i386_int80_bypass(_: Spec) -> str:
    """Calls the kernel by the door for 32-bit programs, where call numbers mean other things."""
    if not X86:
        raise CouldNotTry("only x86-64 has it")
    import ctypes
    import mmap

    libc()
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    answer = int(function())
    if answer != os.getpid():
        raise Refused(f"getpid answered {answer}")
    return f"getpid answered {answer}"


def setns_pid1(spec: Spec) -> str:
    """Enters the host's namespaces through a process that is in them."""
    errors: set[str] = set()
    for pid in strangers(spec):
        try:
            link = Path(f"/proc/{pid}/ns/mnt")
            if link.readlink().name != spec.mntns:
                continue
            descriptor = os.open(link, os.O_RDONLY)
            call("setns", descriptor, 0x00020000)
        except OSError as error:
            errors.add(str(error))
            continue
        return "in the host's mount namespace"
    raise Refused("; ".join(sorted(errors))[:200] or "no process of the host is to be seen")


def tiocsti(_: Spec) -> str:
    try:
        ours, theirs = os.openpty()
    except OSError:
        ours, theirs = -1, 0
    if ours >= 0:
        with suppress(OSError):
            os.setsid()
        with suppress(OSError):
            fcntl.ioctl(theirs, 0x540E, 0)  # TIOCSCTTY
    fcntl.ioctl(theirs, 0x5412, b"x")  # TIOCSTI
    return "typed into a terminal"


def keyring(spec: Spec) -> str:
    return f"key {call('add_key', b'user', spec.nonce.encode(), b'x', 1, -2)}"  # of this process alone


def bpf(_: Spec) -> str:
    attributes = buffer(struct.pack("4I", 2, 4, 4, 1) + bytes(112))  # an array of one number
    return f"a map as descriptor {call('bpf', 0, attributes, 72)}"


def perf_event_open(_: Spec) -> str:
    # A clock of our own process, without the kernel.
    attributes = buffer(struct.pack("IIQQQQQ", 1, 112, 0, 0, 0, 0, 0b1100000) + bytes(64))
    return f"a counter as descriptor {call('perf_event_open', attributes, 0, -1, -1, 0)}"


def userfaultfd(_: Spec) -> str:
    return f"descriptor {call('userfaultfd', 1)}"


def io_uring(_: Spec) -> str:
    return f"a ring as descriptor {call('io_uring_setup', 8, buffer(120))}"


def init_module(_: Spec) -> str:
    return must("init_module", buffer(16), 16, buffer(b""), passed=(ENOEXEC, EFAULT, EINVAL))


def reboot_bad_magic(_: Spec) -> str:
    # Who may not reboot is refused before the numbers are looked at, which are wrong.
    return must("reboot", 1, 2, 3, 0, passed=(EINVAL,))


def iopl(_: Spec) -> str:
    answer = call("iopl", 3)
    call("iopl", 0)
    return f"iopl answered {answer}"


def raise_priority(spec: Spec) -> str:
    niceness = os.nice(-5)
    call_myself(f"n{spec.nonce}")  # the host looks how urgent this process is while it waits
    time.sleep(0.3)
    return f"niceness {niceness}"


def dmesg(_: Spec) -> str:
    try:
        return f"{call('syslog', 3, buffer(4096), 4096)} bytes of the kernel's messages"
    except (OSError, CouldNotTry):
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        return f"{len(os.read(descriptor, 8192))} bytes of the kernel's messages"


def memfd_exec(_: Spec) -> str:
    descriptor = os.memfd_create("program")
    os.write(descriptor, Path("/bin/true").read_bytes())
    child = os.fork()
    if child == 0:
        try:
            os.execve(f"/proc/self/fd/{descriptor}", ["true"], {})
        except OSError:
            with suppress(OSError, CouldNotTry):
                call("execveat", descriptor, b"", buffer(bytes(8)), buffer(bytes(8)), 0x1000)
        os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise Refused(f"it ended with {code}")
    return "a program ran that is no file"


def raise_rlimit(_: Spec) -> str:
    done: list[str] = []
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_CPU"):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY:
            continue
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (hard + 1, hard + 1))
            done.append(name)
    if not done:
        raise Refused("no hard limit goes up")
    return ", ".join(done)


def daemon_survives_exit(spec: Spec) -> str:
    """Leaves its session, its group and its environment behind, and lives on for half a minute."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _live_on(spec)
    os.waitpid(child, 0)
    return "left behind"


def _live_on(spec: Spec) -> NoReturn:
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    signal.alarm(0)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.closerange(3, 256)
    os.chdir("/")
    os.execve("/bin/sleep", [f"daemon-{spec.nonce}", "30"], {})
