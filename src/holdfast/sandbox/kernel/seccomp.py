"""A seccomp filter: system calls that ordinary programs need nothing of, and that ways out are made of, are refused.

It names what is refused, and lets the rest through: programs call what they like, and new calls come with each kernel.
What is new is refused by number above the last one that was looked at. Refused calls fail with "not permitted", as they
would without rights; programs expect that. `clone3` and `openat2` fail with "no such call", since their arguments lie
where a filter cannot look; libraries then use the older ones, whose arguments it can.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence
from typing import Final

from holdfast.sandbox.kernel import syscalls

__all__ = ("NOT_THERE", "REFUSED", "install", "program")

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_ANY, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER, _MACHINE = 0, 4
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

REFUSED: Final = {
    "x86_64": {
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "pidfd_getfd": 438, "process_madvise": 440, "process_mrelease": 448,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "open_tree_attr": 467, "setns": 308, "unshare": 272, "statmount": 457, "listmount": 458,
        "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171,
        "iopl": 172, "ioperm": 173,
        "init_module": 175, "delete_module": 176, "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320,
        "quotactl": 179, "quotactl_fd": 443, "acct": 163, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
        "clock_adjtime": 305, "syslog": 103, "vhangup": 153, "nfsservctl": 180, "lookup_dcookie": 212,
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "memfd_create": 319, "memfd_secret": 447,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300, "fanotify_mark": 301,
        "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256, "move_pages": 279, "modify_ldt": 154, "uselib": 134,
        "seccomp": 317,
    },
    "aarch64": {
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "pidfd_getfd": 438, "process_madvise": 440, "process_mrelease": 448,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "open_tree_attr": 467, "setns": 268, "unshare": 97, "statmount": 457, "listmount": 458,
        "swapon": 224, "swapoff": 225, "reboot": 142, "sethostname": 161, "setdomainname": 162,
        "init_module": 105, "delete_module": 106, "finit_module": 273, "kexec_load": 104, "kexec_file_load": 294,
        "quotactl": 60, "quotactl_fd": 443, "acct": 89, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
        "clock_adjtime": 266, "syslog": 116, "vhangup": 58, "nfsservctl": 42, "lookup_dcookie": 18,
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "memfd_create": 279, "memfd_secret": 447,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262, "fanotify_mark": 263,
        "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239, "seccomp": 277,
    },
}  # fmt: skip
"""The calls that are refused whatever their arguments, by machine and name."""
_LOOKED_AT = 470
"""The last number that was looked at; what newer kernels add is unknown here."""
NOT_THERE = {"clone3": 435, "openat2": 437}
# Calls whose arguments decide: (number, which argument).
_MODES = {
    "x86_64": ((90, 1), (91, 1), (268, 2), (452, 2), (85, 1), (83, 1), (258, 2), (133, 1), (259, 2)),
    "aarch64": ((52, 1), (53, 2), (452, 2), (34, 2), (33, 2)),
}
"""chmod, fchmod, fchmodat, fchmodat2, creat, mkdir, mkdirat, mknod and mknodat, and their mode."""
_OPENS = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
"""open and openat, and their flags; the mode is next to them, and says something only where a file may be made."""
_MAKES = 0o100 | 0o20000000
_SET_ID = 0o6000
_CLONE = {"x86_64": (56, 0), "aarch64": (220, 0)}
_NEW_NAMESPACES = sum(syscalls.NAMESPACES.values()) | 0x02000000 | 0x80
_SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}
_FAMILIES = (1, 2, 10)  # UNIX, INET, INET6
_IOCTL = {"x86_64": 16, "aarch64": 29}
_TYPED_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_PRCTL = {"x86_64": 157, "aarch64": 167}
_REFUSED_PRCTL = (syscalls.PR_SET_SECCOMP,)
_SHARED = {
    "x86_64": {
        "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220,
        "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241, "socket": 41,
    },
    "aarch64": {
        "shmget": 194, "shmat": 196, "shmctl": 195, "semget": 190, "semop": 193, "semctl": 191, "semtimedop": 192,
        "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180, "mq_unlink": 181, "socket": 198,
    },
}  # fmt: skip
"""What reaches others where there are no namespaces: all of it is refused, and of sockets only pairs are left."""
_OTHERS = {
    "x86_64": ((302, 0), (203, 0), (144, 0), (142, 0), (314, 0), (141, 1), (251, 1)),
    "aarch64": ((261, 0), (122, 0), (119, 0), (118, 0), (274, 0), (140, 1), (30, 1)),
}
"""prlimit64, sched_setaffinity, -scheduler, -param, -attr, setpriority and ioprio_set, and which argument says whose: 0
is the process itself.
"""
_USERS = {"x86_64": ((141, 2), (251, 3)), "aarch64": ((140, 2), (30, 3))}
"""The last two, and the value of their first argument with which the other one is a user: 0 is everything of ours."""
_FIRST = 1
"""The first process of a namespace; it has one thread, which has the same number, and its group is not in there."""
_KINDS = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET; datagrams could be sent elsewhere than to the other end


def _argument(index: int) -> int:
    return 16 + 8 * index


class _Writer:
    """Writes a program; jumps are relative, so each test ends with a verdict of its own."""

    def __init__(self) -> None:
        self.code: list[bytes] = []

    def add(self, operation: int, value: int, then: int = 0, otherwise: int = 0) -> None:
        self.code.append(struct.pack("=HBBI", operation, then, otherwise, value))

    def load(self, offset: int) -> None:
        self.add(_LOAD, offset)

    def answer_numbers(self, numbers: Sequence[int], verdict: int) -> None:
        for number in numbers:
            self.add(_JUMP_EQUAL, number, 0, 1)
            self.add(_RETURN, verdict)

    def look_into(self, numbers: Sequence[int], body: _Writer) -> None:
        """For calls of these numbers runs a body, which ends in verdicts; everything else goes on."""
        for number in numbers:
            self.add(_JUMP_EQUAL, number, 0, len(body.code))
            self.code += body.code

    def end(self, verdict: int) -> None:
        self.add(_RETURN, verdict)


def program(machine: str = "", *, alone: bool = True) -> bytes:
    """Returns the filter for this machine, or another one.

    The limits and the priority of the first process are nobody's but its own: each command would inherit them. Who is
    not `alone` in namespaces of its own gets no way to other processes either: no shared memory, no socket but pairs,
    and no say over the limits and the priority of any other.

    Raises:
        OSError: nobody has looked at the system calls of such a machine.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no seccomp filter is known for {machine}")
    writer = _Writer()
    writer.load(_MACHINE)
    writer.add(_JUMP_EQUAL, _MACHINES[machine], 1, 0)
    writer.end(_KILL)
    writer.load(_NUMBER)
    if machine == "x86_64":
        writer.add(_JUMP_GREATER, _X32 - 1, 0, 1)
        writer.end(_KILL)
    writer.add(_JUMP_GREATER, _LOOKED_AT, 0, 1)
    writer.end(_UNKNOWN)
    writer.answer_numbers(tuple(NOT_THERE.values()), _UNKNOWN)
    writer.answer_numbers(tuple(REFUSED[machine].values()), _REFUSE)
    if not alone:
        _keep_apart(writer, machine)
    for number, argument in _OTHERS[machine]:
        writer.look_into((number,), _of_whom(machine, number, argument, alone=alone))
    for number, argument in _MODES[machine]:
        writer.look_into((number,), _any_bit(argument, _SET_ID))
    for number, argument in _OPENS[machine]:
        body = _Writer()
        body.load(_argument(argument))
        body.add(_JUMP_ANY, _MAKES, 1, 0)
        body.end(_ALLOW)
        body.code += _any_bit(argument + 1, _SET_ID).code
        writer.look_into((number,), body)
    number, argument = _CLONE[machine]
    writer.look_into((number,), _any_bit(argument, _NEW_NAMESPACES))
    writer.look_into(_SOCKETS[machine], _by_value(0, _FAMILIES, listed=_ALLOW, others=_REFUSE))
    writer.look_into((_IOCTL[machine],), _by_value(1, _TYPED_INPUT, listed=_REFUSE, others=_ALLOW))
    writer.look_into((_PRCTL[machine],), _by_value(0, _REFUSED_PRCTL, listed=_REFUSE, others=_ALLOW))
    writer.end(_ALLOW)
    return b"".join(writer.code)


def _of_whom(machine: str, number: int, argument: int, *, alone: bool) -> _Writer:
    """Decides about a call by the process it is about; one about a whole user is about the first process, too."""
    body = _Writer()
    for same, users in _USERS[machine]:
        if same == number:
            body.load(_argument(0))
            body.answer_numbers((users,), _REFUSE)
    if alone:
        body.code += _by_value(argument, (_FIRST,), listed=_REFUSE, others=_ALLOW).code
    else:
        body.code += _by_value(argument, (0,), listed=_ALLOW, others=_REFUSE).code
    return body


def _keep_apart(writer: _Writer, machine: str) -> None:
    writer.answer_numbers(tuple(_SHARED[machine].values()), _REFUSE)
    pair = _Writer()
    pair.load(_argument(0))
    pair.add(_JUMP_EQUAL, _FAMILIES[0], 1, 0)
    pair.end(_REFUSE)
    pair.load(_argument(1))
    pair.add(_AND, 0xF)
    for kind in _KINDS:
        pair.answer_numbers((kind,), _ALLOW)
    pair.end(_REFUSE)
    writer.look_into(_SOCKETS[machine][1:], pair)


def _any_bit(argument: int, bits: int) -> _Writer:
    body = _Writer()
    body.load(_argument(argument))
    body.add(_JUMP_ANY, bits, 0, 1)
    body.end(_REFUSE)
    body.end(_ALLOW)
    return body


def _by_value(argument: int, values: Sequence[int], *, listed: int, others: int) -> _Writer:
    body = _Writer()
    body.load(_argument(argument))
    for value in values:
        body.add(_JUMP_EQUAL, value, 0, 1)
        body.end(listed)
    body.end(others)
    return body


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(code: bytes) -> None:
    """Puts this process, and all it starts, under a filter; it must have given up gaining rights before."""
    buffer = ctypes.create_string_buffer(code, len(code))
    given = _Program(len(code) // 8, ctypes.addressof(buffer))
    syscalls.prctl(syscalls.PR_SET_SECCOMP, 2, ctypes.addressof(given))
