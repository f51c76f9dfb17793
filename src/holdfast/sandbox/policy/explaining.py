"""What would happen, asked of a profile before anything happens: may this be read, written, connected to, requested?"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.policy.heeding import UNHEEDED, unheeded
from holdfast.sandbox.policy.judging import Ask, Connect, Decision, Judge
from holdfast.sandbox.policy.profile import Profile

__all__ = ("WORKDIR", "Question", "Touch", "explain", "question_of", "touched")

WORKDIR: Final = "/workspace"
_OWN: Final = (
    ("/tmp", True),
    ("/var/tmp", True),
    ("/dev/shm", True),
    ("/dev/null", True),
    ("/dev", False),
    ("/proc", False),
)
"""What every sandbox has of its own, whatever its policy lists, and whether it can be written."""
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))
_HOW: Final = (
    "ask it like `read /etc/hosts`, `write src/app.py`, `connect example.com:443 /usr/bin/curl` "
    "or `GET https://example.com/path /usr/bin/curl`"
)


class Touch(msgspec.Struct, frozen=True):
    """A file somebody wants to read or write."""

    path: str
    """Absolute, or relative to the workspace; links are not followed."""
    write: bool = False


Question = Touch | Connect | Ask


def question_of(words: Sequence[str]) -> Question:
    """Returns the question that words put: `read`, `write`, `connect` or a method, what about, and by which programs.

    Raises:
        UsageError: they are no question.
    """
    if len(words) < 2:
        raise UsageError(f"{' '.join(words)!r} is no question; {_HOW}")
    verb, target, *binaries = words
    if verb in ("read", "write"):
        return Touch(target, write=verb == "write")
    if not verb.isalpha():
        raise UsageError(f"{verb!r} is neither read, write, connect nor a method of HTTP; {_HOW}")
    try:
        parts = urlsplit(target if "//" in target else f"//{target}")
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise UsageError(f"{target!r} is no address of anything; {_HOW}") from None
    if "//" not in target and not port and verb != "connect":
        if verb.upper() not in _METHODS:
            raise UsageError(f"{verb!r} is neither read, write, connect nor a method of HTTP; {_HOW}")
        raise UsageError(f"`https://` is missing before {target!r}; {_HOW}")
    if not parts.hostname or not port:
        raise UsageError(f"{target!r} names no host and port; {_HOW}")
    if verb == "connect":
        return Connect(parts.hostname, port, tuple(binaries))
    secure = parts.scheme in ("https", "wss")
    return Ask(parts.hostname, port, tuple(binaries), verb, parts.path or "/", parts.query, secure=secure)


def explain(profile: Profile, question: Question, *, workdir: str = WORKDIR) -> Decision:
    """Returns what would be decided and why; `workdir` is where the workspace stands inside."""
    if profile.backend == "none":
        return Decision(True, "`backend: none` keeps nothing in; choose another one for a policy to have an effect")
    if (option := next(unheeded(profile.policy), None)) is not None:
        what = f"no sandbox starts with this: nobody heeds {option.ability!r} ({UNHEEDED[option.ability]})"
        return Decision(False, what, str(option.place[0]))
    if isinstance(question, Touch):
        return touched(profile, question, workdir)
    judge = Judge(profile.policy)
    return judge.connect(question) if isinstance(question, Connect) else judge.request(question)


def touched(profile: Profile, question: Touch, workdir: str = WORKDIR) -> Decision:
    """Returns whether a file may be read or written in a sandbox of a profile that isolates."""
    path = posixpath.normpath(posixpath.join(workdir, question.path))
    files = profile.policy.filesystem
    writable = (*files.read_write, workdir) if files.include_workdir else files.read_write
    inside = _below(path, workdir)
    if question.write and inside is not None and (by := _protecting(inside, profile.workspace.protect)):
        reason = f"{path} is protected by {by!r}: programs outside obey it; take that from `workspace.protect`"
        return Decision(False, reason, "workspace.protect")
    for each in writable:
        if _below(path, each) is not None:
            where = "the workspace" if each == workdir else f"{each!r} of read_write"
            return Decision(True, f"{path} lies in {where}{_unbound(profile, question)}", "filesystem_policy")
    for each in files.read_only:
        if _below(path, each) is not None:
            reason = f"{path} lies in {each!r} of read_only"
            if question.write:
                return Decision(False, f"{reason}; add it to read_write if it must be written", "filesystem_policy")
            return Decision(True, reason, "filesystem_policy")
    for each, write in _OWN:
        if _below(path, each) is not None and (write or not question.write):
            return Decision(True, f"each sandbox has a {each} of its own")
    if inside is not None and not question.write:
        return Decision(True, f"{path} lies in the workspace, which can be read")
    reason = f"{path} lies in no path that is listed; add it to read_only, or to read_write if it must be written"
    return Decision(False, reason)


def _unbound(profile: Profile, question: Touch) -> str:
    """What is said of quotas that do not bound what is written there."""
    if not question.write or not profile.unbound:
        return ""
    names = " and ".join(f"`{each}`" for each in profile.unbound)
    do = "does" if len(profile.unbound) == 1 else "do"
    return f", which {names} {do} not bound: the folder itself is written (workspace: apply: at-once)"


def _below(path: str, folder: str) -> str | None:
    """The rest of a path below a folder, or None where it is not there."""
    root = posixpath.normpath(folder)
    if path == root:
        return ""
    prefix = root.rstrip("/") + "/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None


def _protecting(path: str, protected: Sequence[str]) -> str:
    """What protects a path of the workspace: its own name, or that of a folder it lies in."""
    return next((each for each in protected if _below(f"/{path}", f"/{each}") is not None), "")
