"""Commands that are Python snippets, each in a fresh interpreter as WebAssembly: no kernel is asked for anything.

A snippet gets its code, its arguments and the variables it is given. It sees no file, not even of the workspace, from
which its own program is read for it; it reaches no network and starts nothing. So whatever it does ends with it, and
all that comes of it is what it prints and its exit code.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

from holdfast.errors import IsolationMissing, PathEscape, SandboxError
from holdfast.sandbox.capacity.abilities import refuse_more
from holdfast.sandbox.environment import owner_of
from holdfast.sandbox.output import Output, Streams, Watch
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import LAYERS, Backend, Missing, Posture, lacks, unmet
from holdfast.sandbox.processes import Breach, Ended
from holdfast.sandbox.snippets.commands import WRAPPER, Snippet, snippet_of
from holdfast.sandbox.snippets.port import SnippetLimits, SnippetResult
from holdfast.sandbox.snippets.shared import interpreter_folder
from holdfast.sandbox.snippets.wasm import WasmInterpreter
from holdfast.sandbox.workspace import Workspace

__all__ = ("WasmSnippets",)

_ON = frozenset((
    "own-kernel", "pidns", "netns", "ipcns", "private-root", "protected-paths", "no-new-privs", "no-capabilities",
    "cgroup.pids", "disk-quota", "inode-quota",
))  # fmt: skip
"""What holds because there is no system call to do otherwise with."""
_REASONS = {
    "cgroup.memory": "the profile sets no such limit",
    "cgroup.cpu": "instructions are counted instead, where the profile limits seconds of CPU",
    "egress-proxy": "there is no network at all",
}
_NOT_NEEDED = "a snippet runs in this process, as this user, and makes no system calls that it could stop"
_SECOND: Final = 8 * 10**9
"""Instructions, about, in a second of CPU."""
_UNBOUNDED: Final = 1 << 60
_LARGEST: Final = (1 << 32) - (1 << 16)
"""Bytes that a program of 32 bits can have."""
_LONGEST: Final = 131_072
"""Bytes of one argument, as the kernel has it for programs."""
_CODES: Final[Mapping[str, int]] = {
    "memory": 128 + signal.SIGKILL,
    "cpu": 128 + signal.SIGXCPU,
    "output": 128 + signal.SIGKILL,
    "wall": 124,
}
_BREACHES: Final[Mapping[str, Breach]] = {"memory": "memory", "cpu": "cpu", "output": "output"}


@final
class WasmSnippets(Backend):
    """Runs Python snippets by one profile."""

    def __init__(self, profile: Profile, interpreter: WasmInterpreter) -> None:
        self._profile = profile
        self._interpreter = interpreter
        self._going: dict[asyncio.Task[SnippetResult], tuple[str, int]] = {}
        """Whose they are, and the epoch."""
        on = {*_ON, *(("cgroup.memory",) if profile.limits.memory is not None else ())}
        ways = () if profile.limits.cpu is not None else ("cpu_unlimited",)
        layers = tuple(each for each in LAYERS if each in on)
        self._posture = Posture("wasm", layers, isolated=True, open=ways)
        self._missing = tuple(Missing(each, _REASONS.get(each, _NOT_NEEDED)) for each in LAYERS if each not in on)

    @classmethod
    async def open(cls, profile: Profile, folder: Path | None = None) -> WasmSnippets:
        """Returns one; the interpreter is built in `folder`, that of this user's cache by default, at first use.

        Raises:
            IsolationMissing: the extra `wasm` is not installed, or something required or asked for is not to be had.
        """
        refuse_more("wasm", frozenset(), profile)
        backend = cls(profile, WasmInterpreter(folder or interpreter_folder()))
        if lacking := unmet(backend.posture, profile.require):
            backend._interpreter.close()
            raise IsolationMissing(lacks(lacking, backend.missing))
        return backend

    @property
    def posture(self) -> Posture:
        """What holds of every snippet."""
        return self._posture

    @property
    def missing(self) -> Sequence[Missing]:
        """What does not, and why."""
        return self._missing

    async def run(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - see the port
        keep: int,
        errors: bool = True,
        watch: Watch | None = None,
        streams: Streams | None = None,
    ) -> Ended:
        """Runs a snippet to its end, as the port says.

        Raises:
            SandboxError: it is none, its file cannot be read, or it is to have an input or errors of its own.
        """
        if streams is not None:
            raise SandboxError("a snippet has no input, and one output: take native for programs that read")
        begun = time.monotonic()
        _refuse_what_no_kernel_takes(command, env)
        snippet = snippet_of(command)
        limits = self._profile.limits
        output = Output(keep if limits.output is None else min(keep, limits.output), watch)
        code = await asyncio.to_thread(_code_of, snippet, folder)
        wall = timeout if limits.wall is None else min(timeout, limits.wall)
        bounds = SnippetLimits(
            fuel=_UNBOUNDED if limits.cpu is None else max(1, round(limits.cpu * _SECOND)),
            memory=min(limits.memory or _LARGEST, _LARGEST),
            wall=wall,
            output=limits.output or _UNBOUNDED,
        )
        inputs = snippet.inputs(code, env, errors=errors)
        task = asyncio.ensure_future(self._interpreter.run(WRAPPER, inputs=inputs, limits=bounds, output=output))
        self._going[task] = owner_of(env)
        try:
            await asyncio.wait((task,))
            if task.cancelled():  # by a newer owner
                return _ended(128 + signal.SIGKILL, output, begun)
            return _told(task.result(), output, begun, breaks_wall=wall < timeout)
        finally:
            task.cancel()
            del self._going[task]

    async def attach(self, owner: str, epoch: int) -> int:
        """Ends snippets of lower epochs in this process, as the port says; those of others change nothing outside."""
        older = [task for task, (whose, its) in self._going.items() if whose == owner and its < epoch]
        for each in older:
            each.cancel()
        if older:
            await asyncio.wait(older)
        return len(older)

    async def close(self) -> None:
        """Ends what runs, and gives threads and memory back."""
        for each in self._going:
            each.cancel()
        await asyncio.to_thread(self._interpreter.close)


def _refuse_what_no_kernel_takes(command: str | Sequence[str], env: Mapping[str, str]) -> None:
    words = [command] if isinstance(command, str) else list(command)
    if any("\0" in each for each in (*words, *env, *env.values())):
        raise ValueError("it holds a NUL byte; leave it out")
    if any(len(each.encode("utf-8", "surrogateescape")) >= _LONGEST for each in words):
        raise ValueError("it is too long for one command; write it to a file and run that")


def _code_of(snippet: Snippet, folder: Path) -> str:
    """Returns the code of a snippet, which may be in a file of the workspace."""
    if not folder.is_dir():
        raise SandboxError(f"the workspace {str(folder)!r} cannot be used: it is no folder")
    if snippet.code is not None:
        return snippet.code
    path = snippet.argv[0].removeprefix(f"{folder.resolve()}/")
    try:
        return Workspace(folder).contents(path)[0].decode("utf-8-sig")
    except (OSError, PathEscape, UnicodeDecodeError) as error:
        raise SandboxError(f"the wasm backend cannot run {path!r} of the workspace: {error}") from error


def _told(result: SnippetResult, output: Output, begun: float, *, breaks_wall: bool) -> Ended:
    if result.ended == "ok":
        code = result.answer if isinstance(result.answer, int) else 0
        return _ended(code & 0xFF, output, begun)
    timed_out = result.ended == "wall"
    if not timed_out:  # which is said of every command whose time was over
        output.feed(f"{result.error}\n".encode())
    breach: Breach | None = "wall" if timed_out and breaks_wall else _BREACHES.get(result.ended)
    return _ended(_CODES.get(result.ended, 1), output, begun, timed_out=timed_out, breach=breach)


def _ended(code: int, output: Output, begun: float, *, timed_out: bool = False, breach: Breach | None = None) -> Ended:
    seconds = time.monotonic() - begun
    return Ended(code=code, output=output, seconds=seconds, timed_out=timed_out, held=False, breach=breach)
