"""Runs one command to its end, whatever it does: a line for the shell, or a program with its arguments.

The command is the leader of a session and process group of its own. Its output comes through one pipe, so that
both streams keep their order, and is kept in bounded memory; a command that prints faster than that is slowed
down instead of starving everything else in this process. When the leader ends, or its time is over, or the caller
is cancelled, the whole group is killed: what a command starts ends with it. The leader is reaped only after that,
so that the group's number cannot have been given to somebody else. What left the group meanwhile is found by the mark
each command has in its environment (`fencing.py`), and killed too.

Before it runs, the command waits for one byte from us: it starts only when `leash.py` holds its group.

Not here: isolation. The command runs as our user, on our network.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox import fencing, leash
from holdfast.sandbox.environment import CALL
from holdfast.sandbox.output import Fed, Intake, Output, Streams, Watch

__all__ = ("LINGER", "Breach", "Ended", "Group", "Within", "run_command")

Within = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]
"""Calls what starts a program, and returns what that does."""

Breach = Literal["memory", "cpu", "wall", "pids", "disk", "inodes", "file", "output"]

_GATE = 'read -r _ && exec -a bash "$0" -c "$1" </dev/null'
_PROGRAM_GATE = 'read -r _ && exec "$@" </dev/null'
_QUIET_GATE = 'read -r _ && exec "$@" </dev/null 2>/dev/null'
_GRACE = 1.0
"""Seconds between the polite signal and the other one."""
LINGER = 0.25
"""Seconds the output may stay open after the command has ended."""


class Ended(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a command ended."""

    code: int
    """Exit code as a shell gives it: 128 and the signal's number for a killed one, 124 when its time was over."""
    output: Output
    seconds: float
    timed_out: bool
    held: bool
    """Whether processes it left in the background still held the output, and were killed."""
    strays: int = 0
    """How many processes it left outside its group; they were killed, too."""
    breach: Breach | None = None
    """The quota it ran into, as far as that can be told."""
    unbound: tuple[str, ...] = ()
    """Quotas of its profile that do not bound what it adds to the workspace."""
    taken: tuple[str, ...] = ()
    """Paths of the workspace at which it, or somebody meanwhile, put what programs outside obey; that was removed."""
    elsewhere: tuple[str, ...] = ()
    """Names of its owner's processes in this folder that go on in another sandbox: it did not reach their ports."""
    lost: str = ""
    """Why nothing of what it changed came in; empty where that did, or it changed nothing."""
    out: tuple[dict[str, object], ...] = ()
    """What was decided about each connection it wanted, where it runs in a sandbox with a way out."""


async def run_command(  # noqa: PLR0913 - what a caller may say of a command, by name
    command: str | Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 - the group has to be ended, not only the waiting
    keep: int,
    errors: bool = True,
    watch: Watch | None = None,
    within: Within | None = None,
    streams: Streams | None = None,
) -> Ended:
    """Runs a command in the folder and returns how it ended; `keep` bounds the output's bytes.

    A text is run as `bash -c text`; a sequence is a program and its arguments, which no shell reads, and `errors`
    says whether its standard error is part of the output or dropped. Cancelling ends the group: politely, and after
    a short grace for certain. `watch` gets each piece of the output when it comes. `within` calls what starts it where
    it is to be started, such as under rules by which the kernel lets it open paths (`kernel/bounding.py`). With
    `streams` it reads what those give, and its standard error is theirs instead of part of the output.

    Raises:
        SandboxError: there is no bash, or it cannot be started in this folder.
        ValueError: the command cannot be passed on: it holds NUL, or is too long.
    """
    started = time.monotonic()
    output = Output(keep, watch)
    group = Group(command, folder, env, output, errors=errors, within=within, streams=streams)
    try:
        group.begin()
        in_time = await group.ends_within(timeout)
        if in_time:
            await group.falls_silent_within(LINGER)
        else:
            await group.stop()
        held = in_time and not group.is_silent
    except asyncio.CancelledError:
        await group.stop()
        raise
    finally:
        group.close()
    return Ended(
        code=group.code if in_time else 124,
        output=output,
        seconds=time.monotonic() - started,
        timed_out=not in_time,
        held=held,
        strays=group.strays,
    )


def _arguments(command: str | Sequence[str], *, errors: bool, given: int) -> list[str]:
    """What the first shell gets: what it does when it may, with what is `given` to read, and what that is about."""
    if isinstance(command, str):
        gate, rest = _GATE, [command]
    else:
        gate, rest = _PROGRAM_GATE if errors else _QUIET_GATE, list(command)
    return [gate if given < 0 else gate.replace("</dev/null", f"<&{given} {given}<&-", 1), *rest]


class Group:
    """A command that was started and waits to be let go, and everything that stays in its process group."""

    def __init__(
        self,
        command: str | Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        output: Fed,
        *,
        errors: bool = True,
        within: Within | None = None,
        streams: Streams | None = None,
    ) -> None:
        """Starts it; what it prints goes to the output, its errors where `streams` has them.

        Raises:
            SandboxError, ValueError: as `run_command` does.
        """
        self.code = 0
        """Its exit code as a shell gives it, once this is closed."""
        self.strays = 0
        """How many processes were left outside the group, once this is closed."""
        self._mark = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the leader has ended."""
        self._shell = _find_shell(env)
        self._intakes = [Intake(output)]
        given = -1
        try:
            if streams is not None:
                self._intakes.append(Intake(streams.errors))
                given = streams.opened()
            arguments = _arguments(command, errors=errors, given=given)
            marked, outputs = {**env, CALL: self._mark}, [each.writing for each in self._intakes]
            self._process = _start(self._shell, arguments, folder, marked, outputs, given, within)
        except BaseException:
            for each in self._intakes:
                each.close()
            raise
        finally:
            for each in self._intakes:
                each.started()
            if given >= 0:
                os.close(given)
        self._silent = tuple(each.silent for each in self._intakes)
        self._pid = self._process.pid
        self._pidfd = -1

    def begin(self) -> None:
        """Lets the command run, on the leash."""
        leash.hold(self._pid, self._shell)
        for each in self._intakes:
            each.begin()
        self._watch()
        gate = self._process.stdin
        if gate is not None:
            with suppress(BrokenPipeError):
                gate.write(b"\n")
            with suppress(BrokenPipeError):
                gate.close()

    def _watch(self) -> None:
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self._pid)
            self._loop.add_reader(self._pidfd, self._end)
            return
        threading.Thread(target=self._wait, name="holdfast-wait", daemon=True).start()

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # collected already
                os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        if not self.ended.done():
            self.ended.set_result(None)

    async def ends_within(self, seconds: float) -> bool:
        """Waits for the leader's end, and returns whether it came in time."""
        return bool((await asyncio.wait((self.ended,), timeout=seconds))[0])

    async def falls_silent_within(self, seconds: float) -> None:
        """Waits until nobody holds the output any more."""
        await asyncio.wait(self._silent, timeout=seconds)

    @property
    def is_silent(self) -> bool:
        """Whether nobody holds its output any more."""
        return all(each.done() for each in self._silent)

    async def stop(self) -> None:
        """Ends the group: politely, and after a short grace for certain."""
        self.signal(signal.SIGTERM)
        await asyncio.wait((self.ended, *self._silent), timeout=_GRACE)
        self.signal(signal.SIGKILL)
        await asyncio.wait((self.ended, *self._silent), timeout=_GRACE)

    def close(self) -> None:
        """Kills what is left and lets go of everything; never waits."""
        self.signal(signal.SIGKILL)
        with suppress(OSError):
            self.strays = fencing.kill_left(self._mark, self._pid)
        with suppress(OSError):
            leash.release(self._pid, self._shell)
        for each in self._intakes:
            each.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        code = self._process.poll()
        if code is None:
            # Killed, but stuck in the kernel: somebody has to collect it when it comes out.
            threading.Thread(target=self._process.wait, name="holdfast-reap", daemon=True).start()
        else:
            self.code = code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def _start(
    shell: str,
    arguments: list[str],
    folder: Path,
    env: Mapping[str, str],
    outputs: Sequence[int],
    given: int,
    within: Within | None,
) -> subprocess.Popen[bytes]:
    gate, *rest = arguments

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [shell, "-c", gate, shell, *rest],
            stdin=subprocess.PIPE,
            stdout=outputs[0],
            stderr=outputs[-1],
            pass_fds=() if given < 0 else (given,),
            cwd=folder,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
        )

    try:
        return start() if within is None else within(start)
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise ValueError("it is too long for one command; write it to a file and run that") from None
        raise SandboxError(f"cannot start {shell!r} in {str(folder)!r}: {error.strerror}; check the folder") from None


def _find_shell(env: Mapping[str, str]) -> str:
    shell = shutil.which("bash", path=env.get("PATH")) or shutil.which("bash")
    if shell is None:
        raise SandboxError("there is no bash on the PATH: install it, or give the agent other tools")
    return shell
