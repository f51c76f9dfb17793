"""The seccomp filter as OCI runtimes read it: the same refusals as `kernel/seccomp.py`, by the names of system calls.

What is newer than the names that runtimes know, `programs/keeping.py` refuses before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.sandbox.kernel import seccomp, syscalls

__all__ = ("filter_of",)

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_EPERM = 1
_NO_SUCH_CALL = "SCMP_ACT_TRACE"
"""Without a tracer the kernel answers that there is no such call, and so does gVisor, which knows but one error."""
_MODES: Final = {
    "chmod": 1, "fchmod": 1, "fchmodat": 2, "creat": 1, "mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2,
}  # fmt: skip
"""Which argument is the mode."""
_OPENS = {"open": 1, "openat": 2}
"""Which argument are the flags; the mode is next to them, and says something only where a file may be made."""
_MAKES = (0o100, 0o20000000)
_SET_ID = (0o4000, 0o2000)
_FAMILIES = (1, 2, 10)  # UNIX, INET, INET6
_LAST_FAMILY = 46
_TYPED_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_NAMESPACES = (*syscalls.NAMESPACES.values(), 0x02000000, 0x80)  # of control groups, of time


def filter_of(machine: str) -> Mapping[str, Any]:
    """Returns the filter for a machine; empty where nobody has looked at its system calls."""
    if machine not in _ARCHITECTURES:
        return {}
    rules = [
        _refuse(sorted(seccomp.REFUSED[machine])),
        {"names": sorted(seccomp.NOT_THERE), "action": _NO_SUCH_CALL},
        *(_refuse(["clone"], _any(0, bit)) for bit in _NAMESPACES),
        *(_refuse([name], _any(index, bit)) for name, index in _MODES.items() for bit in _SET_ID),
        *(
            _refuse([name], _any(index, makes), _any(index + 1, bit))
            for name, index in _OPENS.items()
            for makes in _MAKES
            for bit in _SET_ID
        ),
        *(_refuse(["socket", "socketpair"], _is(0, each)) for each in range(_LAST_FAMILY) if each not in _FAMILIES),
        _refuse(["socket", "socketpair"], {"index": 0, "value": _LAST_FAMILY, "op": "SCMP_CMP_GE"}),
        *(_refuse(["ioctl"], _is(1, each)) for each in _TYPED_INPUT),
    ]
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [_ARCHITECTURES[machine]], "syscalls": rules}


def _refuse(names: Sequence[str], *arguments: Mapping[str, Any]) -> dict[str, Any]:
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}
    return rule | {"args": list(arguments)} if arguments else rule


def _any(index: int, bit: int) -> dict[str, Any]:
    return {"index": index, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}


def _is(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
