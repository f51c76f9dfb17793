"""`holdfast sandbox shell`: a person at a terminal, inside the sandbox of a folder.

The sandbox has a terminal of its own, so that jobs, Ctrl-C and Ctrl-D are the shell's business; the person's is put
into raw mode and only carries: keys in, what `screening.py` lets through out, and the size of the window. When the
shell has ended, modes are reset, and what was typed or answered and not read yet is thrown away: nothing of it reaches
the shell outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

import click

from holdfast.cli.sandbox.running import NOT_STARTED, workspace_of
from holdfast.cli.sandbox.screening import Screen
from holdfast.cli.settings.defaults import hide_store, profile, settings
from holdfast.cli.words import one_line
from holdfast.errors import SandboxError, UsageError
from holdfast.sandbox.backends.choosing import open_backend, passed_on
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.port import Posture
from holdfast.sandbox.processes import Ended

__all__ = ("posture_line", "shell")

_PIECE = 1 << 16
_WAITING = 1 << 16
"""Bytes typed ahead that are kept while the program reads nothing."""
_LAST = 16
"""Pieces that are shown after the end."""
_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,40}")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Work in a sandbox yourself, on a terminal (native).",
)
@click.option(
    "--sandbox",
    "named",
    metavar="NAME|FILE",
    help="native, auto, or a profile's file.  [default: the setting, else auto]",
)
@click.option("-w", "--workspace", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@click.option("--shell", "program", default="bash", show_default=True, help="Program to talk to.")
def shell(named: str | None, workspace: Path, program: str) -> None:
    """Work in a sandbox yourself: bash on a terminal of its own, in a folder, as an agent's commands run there.
    Only the sandbox native has terminals.

    Exits with the shell's exit code, 124 when its time was over, 125 when there is no such sandbox here or it has no
    terminals, and 2 without a terminal. Colours, cursor, mouse and the other screen work; what makes a terminal
    answer, the clipboard, the title and links do not come through.
    """
    folder = workspace_of(workspace)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("a shell needs a terminal: for one command use `holdfast sandbox run`")
    try:
        ended = asyncio.run(_worked(named if named is not None else settings().sandbox, folder, program))
    except FileNotFoundError as error:
        raise UsageError(f"{error.strerror}: name another with --shell") from None
    except SandboxError as error:
        click.echo(f"error {error}", err=True)
        sys.exit(NOT_STARTED)
    if ended.strays:
        click.echo("what was left running in the background was stopped", err=True)
    if ended.taken:
        click.echo(f"removed, because programs outside the sandbox obey it: {', '.join(ended.taken)}", err=True)
    if ended.breach is not None:
        click.echo(f"stopped at the quota of {ended.breach}", err=True)
    if ended.lost:
        click.echo(f"nothing of it came in: {ended.lost}", err=True)
    sys.exit(ended.code or (NOT_STARTED if ended.lost else 0))


async def _worked(named: str, folder: Path, program: str) -> Ended:
    from holdfast.sandbox.backends.native import NativeSandboxes

    wanted = profile(named)
    backend = await open_backend(wanted)
    try:
        if not isinstance(backend, NativeSandboxes) or "terminals" not in backend.can:
            raise SandboxError(
                f"the sandbox {backend.posture.backend!r} has no terminal to give: take `--sandbox native`, or run one "
                "command with `holdfast sandbox run`"
            )
        hide_store(backend, folder)
        click.echo(posture_line(backend.posture, str(folder)), err=True)
        term = os.environ.get("TERM", "")
        own = {"TERM": term if _TERM.fullmatch(term) else "dumb", "PS1": r"(sandbox) \w\$ "}
        environment = {**clean_environment(passed_on(wanted)), **own}
        argv = (program, "--norc", "-i") if program == "bash" else (program,)
        return await backend.interact(argv, folder=folder, env=environment, talk=_Talk().through)
    finally:
        await backend.close()


def posture_line(posture: Posture, folder: str) -> str:
    """Returns what a sandbox is, in one line: where it reaches, and how many layers hold."""
    reach = "no network" if posture.isolated else "the network that its policy allows"
    ways = f", known to be open: {', '.join(posture.open)}" if posture.open else ""
    return f"sandbox {posture.backend}: {one_line(folder)} alone, {reach}; {len(posture.layers)} layers hold{ways}"


@final
class _Talk:
    """Carries between the person's terminal and the sandbox's."""

    def __init__(self) -> None:
        self._screen = Screen()
        self._typed = bytearray()
        self._terminal = -1
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def through(self, terminal: int, ended: asyncio.Future[int]) -> None:
        """Returns when the program has ended, or the person's terminal is gone."""
        loop, self._terminal = asyncio.get_running_loop(), terminal
        os.set_blocking(terminal, False)
        with _raw(self._screen), contextlib.ExitStack() as stack:
            self._resize()
            loop.add_signal_handler(signal.SIGWINCH, self._resize)
            stack.callback(loop.remove_signal_handler, signal.SIGWINCH)
            for number in (signal.SIGHUP, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop)
                stack.callback(loop.remove_signal_handler, number)
            loop.add_reader(sys.stdin.fileno(), self._hear)
            stack.callback(loop.remove_reader, sys.stdin.fileno())
            loop.add_reader(terminal, self._show)
            stack.callback(loop.remove_reader, terminal)
            stack.callback(loop.remove_writer, terminal)
            await asyncio.wait((ended, self._over), return_when=asyncio.FIRST_COMPLETED)
            for _ in range(_LAST):  # what it said last; what it left behind may never be silent
                if not self._show():
                    break

    def _resize(self) -> None:
        with suppress(OSError):
            size = os.get_terminal_size(sys.stdout.fileno())
            termios.tcsetwinsize(self._terminal, (size.lines, size.columns))

    def _stop(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = os.read(sys.stdin.fileno(), _PIECE)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(sys.stdin.fileno())
            self._stop()
        self._typed += data
        loop.add_writer(self._terminal, self._pass_on)
        if len(self._typed) >= _WAITING:  # the rest waits where it was typed
            loop.remove_reader(sys.stdin.fileno())

    def _pass_on(self) -> None:
        with suppress(BlockingIOError):
            try:
                del self._typed[: os.write(self._terminal, self._typed)]
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                self._typed.clear()  # nobody is there any more
        if not self._typed:
            loop = asyncio.get_running_loop()
            loop.remove_writer(self._terminal)
            if not self._over.done():
                loop.add_reader(sys.stdin.fileno(), self._hear)

    def _show(self) -> bool:
        """Shows what has come, and returns whether anything had."""
        try:
            data = os.read(self._terminal, _PIECE)
        except BlockingIOError:
            return False
        except OSError:  # no process has it open
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
            return False
        _write(self._screen.let_through(data))
        return True


def _write(data: bytes) -> None:
    with suppress(OSError):
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


@contextmanager
def _raw(screen: Screen) -> Generator[None]:
    """Has the person's terminal carry each key as it is; puts it back, and throws away what was not read."""
    typed = sys.stdin.fileno()
    before = termios.tcgetattr(typed)
    tty.setraw(typed, termios.TCSADRAIN)
    try:
        yield
    finally:
        _write(screen.reset)
        termios.tcsetattr(typed, termios.TCSAFLUSH, before)
