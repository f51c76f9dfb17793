"""`holdfast sandbox run`: one command in a sandbox; what it prints is shown as it comes."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import select
import stat
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import click

from holdfast.cli.asking.span import Amount
from holdfast.cli.settings.defaults import hide_store, profile, settings
from holdfast.cli.words import one_line
from holdfast.errors import SandboxError, UsageError
from holdfast.sandbox.backends.choosing import NAMES, open_backend, passed_on
from holdfast.sandbox.egress.answers import denials_of
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.output import Plain
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.snippets.telling import listening

__all__ = ("NOT_STARTED", "SANDBOX", "run", "workspace_of")

SANDBOX = click.option(
    "--sandbox",
    "named",
    metavar="NAME|FILE",
    help=f"auto, {', '.join(NAMES)}, or a profile's file.  [default: the setting, else auto]",
)
"""Which sandbox: a backend's name, or a profile's file."""
NOT_STARTED = 125
"""Exit code where nothing was started, the sandbox failed, or nothing of what was changed came in: no command's own."""
_KEPT = 4 * 1024 * 1024
"""Bytes that wait for whoever reads the output; what comes beyond that once the command's time is over is left out."""
_DENIALS = 20
"""Of what was not let out, that are said one by one."""
_AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe with room takes without making us wait."""


def workspace_of(given: Path) -> Path:
    """Returns the folder that an option names, without links.

    Raises:
        UsageError: it is none, or the root of all files.
    """
    folder = given.resolve()
    if not folder.is_dir():
        raise UsageError(f"the workspace {str(given)!r} is no folder: make it first, or name another")
    if folder == Path(folder.anchor):
        raise UsageError(f"the workspace cannot be `{folder}`: name a folder in it")
    return folder


@click.command(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "allow_interspersed_args": False,
    },
    short_help="Run COMMAND in a sandbox, in a folder.",
)
@SANDBOX
@click.option("-w", "--workspace", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@click.option("--seconds", type=Amount(0, min_open=True), default=600.0, show_default=True, help="Wall time.")
@click.argument("command", nargs=-1, required=True)
def run(named: str | None, workspace: Path, seconds: float, command: tuple[str, ...]) -> None:
    """Run COMMAND in a sandbox, in a folder, and print what it prints, as it comes.

    Both its streams go to standard output; it reads nothing from standard input. Exits with the command's exit code,
    124 when its time was over, 125 when there is no such sandbox here, it failed, or nothing of what the command
    changed came in, and 141 when nobody reads the output any more, which ends the command.
    """
    folder = workspace_of(workspace)
    wanted = profile(named if named is not None else settings().sandbox)
    showing = _Showing(wanted.limits.output)
    try:
        ended = asyncio.run(_ran(command, wanted, folder, seconds, showing))
    except asyncio.CancelledError:
        raise BrokenPipeError from None  # its reader is gone
    except ValueError as error:
        raise UsageError(f"the command cannot be started: {error}") from None
    except SandboxError as error:
        click.echo(f"error {error}", err=True)
        sys.exit(NOT_STARTED)
    showing.finish()
    for line in _remarks(ended, seconds, showing.left_out):
        click.echo(line, err=True)
    sys.exit(ended.code or (NOT_STARTED if ended.lost else 0))


async def _ran(command: Sequence[str], wanted: Profile, folder: Path, seconds: float, showing: _Showing) -> Ended:
    loop = asyncio.get_running_loop()
    if unset := [name for name in wanted.env.secrets if not os.environ.get(name)]:
        click.echo(f"not set, so no secret stands behind it: {', '.join(unset)} (env: secrets)", err=True)
    backend = await open_backend(wanted)
    try:
        hide_store(backend, folder)
        environment = clean_environment(passed_on(wanted))
        within = seconds if wanted.limits.wall is None else min(seconds, wanted.limits.wall)
        running = asyncio.ensure_future(
            backend.run(command, folder=folder, env=environment, timeout=seconds, keep=1, watch=showing.show)
        )
        showing.begin(within, lambda: loop.call_soon_threadsafe(running.cancel))
        with listening(lambda text: click.echo(text, err=True)):
            return await running
    finally:
        await backend.close()


@final
class _Showing:
    """Writes a command's output to ours as it comes, as text that cannot act on a terminal.

    A command that prints faster than its output is read is slowed down; but once its time is over nobody waits for the
    reader any more, and what still comes is written when the command has ended.
    """

    def __init__(self, most: int | None) -> None:
        self.left_out = 0
        """Bytes that were not written: there were more than the profile has shown."""
        self._room = most
        self._plain = Plain()
        self._waiting = b""
        self._until: float | None = None
        self._gone: Callable[[], object] | None = None

    def begin(self, seconds: float, gone: Callable[[], object]) -> None:
        """Has a command begin, that has so many seconds; `gone` is called once nobody reads any more."""
        self._until, self._gone = time.monotonic() + seconds, gone

    def show(self, data: bytes) -> None:
        """Writes the next piece."""
        shown = data if self._room is None else data[: self._room]
        if len(self._waiting) > _KEPT:
            shown = b""
        if self._room is not None:
            self._room -= len(shown)
        self.left_out += len(data) - len(shown)
        self._write(self._plain.text(shown))

    def finish(self) -> None:
        """Writes what is left.

        Raises:
            BrokenPipeError: nobody reads it.
        """
        self._until = self._gone = None
        self._write(self._plain.text(b"", last=True))

    def _write(self, text: str) -> None:
        out = sys.stdout.fileno()
        self._waiting += text.encode(sys.stdout.encoding, "replace")
        poll = select.poll()
        poll.register(out, select.POLLOUT)
        while self._waiting:
            left = None if self._until is None else max(0.0, self._until - time.monotonic()) * 1000
            if not poll.poll(left):
                return
            try:
                self._waiting = self._waiting[os.write(out, self._waiting[:_AT_ONCE]) :]
            except BrokenPipeError:
                if self._gone is None:
                    raise
                self._waiting = b""
                self._gone()
                return


def _remarks(ended: Ended, seconds: float, left_out: int) -> list[str]:
    """Returns what is said of a command that has ended, on standard error."""
    said = [f"denied: {each}" for each in denials_of(ended.out, _DENIALS)]
    if ended.lost:
        said.append(f"nothing of it came in: {ended.lost}")
    if left_out:
        said.append(f"{left_out:,} bytes of its output were left out")
    if ended.taken:
        said.append(f"removed, because programs outside the sandbox obey it: {', '.join(map(one_line, ended.taken))}")
    if ended.unbound:
        names = " and ".join(ended.unbound)
        said.append(f"the quota of {names} did not bound the workspace: set apply: when-ended under workspace for that")
    if ended.breach == "output":
        said.append("it printed more than the quota of output")
    elif ended.breach is not None:
        said.append(f"stopped at the quota of {ended.breach}")
    elif ended.timed_out:
        said.append(f"stopped after {seconds:g} s")
    if _unread():
        said.append("standard input was not passed on: in a sandbox commands read nothing from it; name a file instead")
    return said


def _unread() -> bool:
    """Whether something was given on standard input: a file with something in it, or a pipe."""
    try:
        kind = os.fstat(0)
        if stat.S_ISREG(kind.st_mode):
            return kind.st_size > os.lseek(0, 0, os.SEEK_CUR)
        if not stat.S_ISFIFO(kind.st_mode):
            return False
        held = array.array("i", [0])
        fcntl.ioctl(0, termios.FIONREAD, held)
    except OSError:  # it is closed
        return False
    return held[0] > 0
