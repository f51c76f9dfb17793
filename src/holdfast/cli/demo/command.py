"""`holdfast demo`: an agent repairs a small project that really is broken, with tools that really run.

Its parts can be told apart: the parent serves the model's words and judges the outcome; a child process runs the
agent. With `--crash` the first child kills itself with SIGKILL while a command of the agent is under way, and a
second one goes on from the log.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from holdfast.cli.demo.staging import copy_project, put_python_first, scripted
from holdfast.cli.run import coder, follow, isolation_note, play, report
from holdfast.cli.settings.defaults import open_runtime
from holdfast.cli.terminal import open_console, reset_line
from holdfast.cli.words import seconds
from holdfast.engine.events import ModelFinished, ToolStarted
from holdfast.flow.ids import new_session
from holdfast.runtime.opening import data_url
from holdfast.testing.model_server import ScriptedModelServer
from holdfast.types import Delta, Event, Limits, Price, stream_id

__all__ = ("demo",)

_PROMPT = "The tests fail. Find out why, repair it, and prove it."
_SCRIPTED = "openai/scripted"
_REAL = "openai/gpt-5-mini"
_PRICES = {_SCRIPTED: Price.per_million(1.25, 10, cache_read=0.125)}
_LIMITS = Limits(steps=40, dollars=0.5)
_KILL_AFTER = 0.15
"""Seconds from the start of the second shell command to the kill: the tests are running by then."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--crash", is_flag=True, help="Kill the agent in mid-tool, and go on in a new process.")
@click.option("-m", "--model", help=f"A real model.  [default: {_REAL} when OPENAI_API_KEY is set]")
@click.option("--scripted", "force", is_flag=True, help="The scripted model, even when there is a key.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Leave the project in this folder.")
@click.option("--store", help="Where the log is kept.  [default: demo.db in your data folder]")
@click.option("--stage", type=click.Choice(["run", "crash", "resume"]), hidden=True)
@click.option("--session", hidden=True)
def demo(
    crash: bool,
    model: str | None,
    force: bool,
    keep: Path | None,
    store: str | None,
    stage: str | None,
    session: str | None,
) -> None:
    """Watch an agent find and repair two faults in a small project.

    The project, its tests, the files and the commands are real. Without a key the model's words come from a
    script; with OPENAI_API_KEY set the same command uses a real model.
    """
    # Not the person's own store, also where the environment names one: nobody wants a play among their runs.
    url = store or data_url("demo.db")
    if stage is not None and keep is not None and session is not None and model is not None:
        sys.exit(play(_act(stage, model, keep, url, session)))
    put_python_first()
    name = _SCRIPTED if force else model or (_REAL if os.environ.get("OPENAI_API_KEY") else _SCRIPTED)
    console = open_console()
    with _folder(keep) as target:
        project = copy_project(target)
        with _model(name) as where:
            console.print(_introduction(name, where, project))
            stages = ("crash", "resume") if crash else ("run",)
            code = _perform(console, stages, name, project, url)
        passed, words = _proof(project)
    _fact(console, "tests", Text(words, "green" if passed else "red").append("  run once more by the demo", "dim"))
    if keep is not None:
        _fact(console, "project", Text(shlex.quote(str(project))))
    sys.exit(code or (0 if passed else 1))


def _perform(console: Console, stages: tuple[str, ...], model: str, project: Path, url: str) -> int:
    """Runs the agent's process, or one after the other, and returns the exit code of the last."""
    session, code = new_session(), 1
    for stage in stages:
        console.file.flush()
        command = [sys.executable, "-m", "holdfast", "demo", "--stage", stage, "--session", session]
        child = subprocess.Popen([*command, "--model", model, "--keep", str(project), "--store", url])
        with _leaving_signals_to_the_child():
            code = child.wait()
        if stage == "crash":
            if code != -signal.SIGKILL:
                console.print(Text(f"The agent's process should have been killed; it ended with {code}.", "red"))
                return code or 1
            _show_death(console, child.pid)
    return code


@contextmanager
def _leaving_signals_to_the_child() -> Generator[None]:
    """A terminal's Ctrl-C reaches both processes; the one with the agent knows what to do."""

    def nothing(number: int, frame: FrameType | None) -> None:
        """Does nothing; unlike SIG_IGN, a child does not inherit it."""

    before = signal.signal(signal.SIGINT, nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show_death(console: Console, pid: int) -> None:
    if console.is_terminal:  # the killed process left its line and hid the cursor
        reset_line(console)
    gone = Text.assemble(("\n✗ SIGKILL", "bold red"), f"  process {pid} is gone, in the middle of that command.")
    console.print(gone)
    console.print(Text("  A new process opens the log, sees what is certain and what is not, and goes on.\n", "dim"))


async def _act(stage: str, model: str, project: Path, url: str, session: str) -> int:
    """The agent's process."""
    async with open_runtime(url, prices=_PRICES) as runtime:
        note = isolation_note(await runtime.posture())
        if stage == "resume":
            head = await runtime.journal.head(stream_id("local", session))
            known = head.seq if head else 0
            note = f"↻ going on in session {session} after event {known}\n{note}"
            return report(await follow(await runtime.resume(session), url, "text", known=known, note=note), "text")
        run = await runtime.start(coder(model, _LIMITS), _PROMPT, session=session, workspace=project)
        events = _with_kill(run.events()) if stage == "crash" else None
        return report(await follow(run, url, "text", events=events, note=note), "text")


async def _with_kill(events: AsyncIterator[Event | Delta]) -> AsyncIterator[Event | Delta]:
    """The same events, and SIGKILL while the second turn that runs a command is under way."""
    commands: list[str] = []
    async for event in events:
        yield event
        match event:
            case Event(data=ModelFinished(message=message)):
                commands += [call.id for call in message.calls if call.name == "bash"]
            case Event(data=ToolStarted(call_id=call)) if call == (commands[1:2] or [""])[0]:
                asyncio.get_running_loop().call_later(_KILL_AFTER, os.kill, os.getpid(), signal.SIGKILL)
            case _:
                pass


@contextmanager
def _folder(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as name:
        yield Path(name)


@contextmanager
def _model(name: str) -> Generator[str]:
    """Serves the script when it is wanted, and says where the words come from."""
    if name != _SCRIPTED:
        yield name
        return
    with ScriptedModelServer.in_thread(scripted()) as server:
        os.environ["OPENAI_BASE_URL"] = server.base_url
        os.environ["OPENAI_API_KEY"] = "scripted"
        yield server.base_url


def _introduction(name: str, where: str, project: Path) -> Panel:
    words = Text.assemble(("job      ", "dim"), _PROMPT, ("\nproject  ", "dim"), str(project), "\n\n")
    if name == _SCRIPTED:
        words.append("Nobody thinks here: the model's words are a script", "bold")
        words.append(f", served on {where}.\nThe tools, the files and the tests are real. ")
        words.append("Set OPENAI_API_KEY to watch a real model.")
    else:
        words.append("The model is ").append(name, "bold").append(f", limited to ${_LIMITS.dollars:.2f}.")
    return Panel(words, title=Text("holdfast demo", "bold"), title_align="left", border_style="dim", width=96)


def _proof(project: Path) -> tuple[bool, str]:
    """Runs the project's tests once more, outside the agent."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1].partition(" in ")[0] if lines else done.stderr.strip()[-200:]
    return done.returncode == 0, f"{last} in {seconds(time.monotonic() - began)}"


def _fact(console: Console, name: str, value: Text) -> None:
    console.print(Text.assemble((f"  {name:<8}", "dim"), value), soft_wrap=True)
