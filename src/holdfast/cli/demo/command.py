"""`holdfast demo`: an agent repairs a small project that really is broken, with tools that really run.

Its parts can be told apart: the parent serves the model's words and judges the outcome; a child process runs the
agent. With `--crash` the first child kills itself with SIGKILL while a command of the agent is under way, and a
second one goes on from the log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from holdfast.cli.demo.staging import copy_project, put_python_first, scripted
from holdfast.cli.run import coder
from holdfast.cli.screen import EXIT_CODES, Screen, print_result
from holdfast.engine.events import ToolStarted
from holdfast.flow.ids import new_session
from holdfast.runtime.opening import default_url
from holdfast.runtime.runtime import Runtime
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


@click.command()
@click.option("--crash", is_flag=True, help="Kill the agent in mid-tool, and go on in a new process.")
@click.option("-m", "--model", help=f"A real model; {_REAL} when OPENAI_API_KEY is set.")
@click.option("--scripted", "force", is_flag=True, help="The scripted model, even when there is a key.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Leave the project in this folder.")
@click.option("--store", help="Where the log is kept; your data folder by default.")
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
    url = store or default_url()
    if stage is not None and keep is not None and session is not None and model is not None:
        sys.exit(asyncio.run(_play(stage, model, keep, url, session)))
    put_python_first()
    name = _SCRIPTED if force else model or (_REAL if os.environ.get("OPENAI_API_KEY") else _SCRIPTED)
    console = Console(highlight=False)
    with _folder(keep) as target:
        project = copy_project(target)
        with _model(name) as where:
            console.print(_introduction(name, where, project))
            stages = ("crash", "resume") if crash else ("run",)
            code, session = _perform(console, stages, name, project, url)
        proof = _proof(project)
    _conclude(console, code, proof, session, keep)


def _perform(console: Console, stages: tuple[str, ...], model: str, project: Path, url: str) -> tuple[int, str]:
    session, code = new_session(), 1
    for stage in stages:
        command = [sys.executable, "-m", "holdfast", "demo", "--stage", stage, "--session", session]
        child = subprocess.Popen([*command, "--model", model, "--keep", str(project), "--store", url])
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.wait()
            raise
        if stage == "crash":
            if code != -signal.SIGKILL:
                console.print(f"[red]The agent's process should have been killed and ended with code {code}.[/]")
                return code or 1, session
            console.print(
                f"\n[bold red]✗ SIGKILL[/] [dim]process {child.pid} is gone, in the middle of that command[/]\n"
                "[dim]  A new process opens the log, sees what is certain and what is not, and goes on:[/]\n"
            )
    return code, session


async def _play(stage: str, model: str, project: Path, url: str, session: str) -> int:
    """The agent's process."""
    console = Console(highlight=False)
    async with Runtime.open(url, prices=_PRICES) as runtime:
        known = 0
        if stage == "resume":
            head = await runtime.journal.head(stream_id("local", session))
            known = head.seq if head else 0
            run = await runtime.resume(session)
        else:
            run = await runtime.start(coder(model, _LIMITS), _PROMPT, session=session, workspace=project)
        screen = Screen(console, known=known)
        await screen.show(_with_kill(run.events()) if stage == "crash" else run.events())
        result = await run.result()
    print_result(console, result, url)
    return EXIT_CODES[result.status]


async def _with_kill(events: AsyncIterator[Event | Delta]) -> AsyncIterator[Event | Delta]:
    """The same events, and SIGKILL while the second turn that runs a command is under way."""
    shells = 0
    async for event in events:
        yield event
        if isinstance(event, Event) and isinstance(event.data, ToolStarted) and event.data.effect.outside == "unsafe":
            shells += 1
            if shells == 2:
                asyncio.get_running_loop().call_later(_KILL_AFTER, os.kill, os.getpid(), signal.SIGKILL)


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
    words = (
        f"[bold]The model's words are scripted[/] [dim](served on {where})[/]; the tools, the files and the tests are "
        "real.\n[dim]Set OPENAI_API_KEY and the same command uses a real model.[/]"
        if name == _SCRIPTED
        else f"The model is [bold]{escape(name)}[/], limited to ${_LIMITS.dollars:.2f}."
    )
    job = f"[dim]job[/]      {_PROMPT}\n[dim]project[/]  {escape(str(project))}"
    return Panel(f"{job}\n\n{words}", title="[bold]holdfast demo[/]", title_align="left", border_style="dim")


def _proof(project: Path) -> tuple[bool, str]:
    """Runs the project's tests once more, outside the agent."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1] if lines else done.stderr.strip()[-200:]
    return done.returncode == 0, f"{last} [dim](checked by the demo itself, {time.monotonic() - began:.1f} s)[/]"


def _conclude(console: Console, code: int, proof: tuple[bool, str], session: str, keep: Path | None) -> None:
    passed, words = proof
    console.print(f"  [dim]tests[/] {'[green]' if passed else '[red]'}{words}[/]")
    console.print(f"  [dim]see[/] holdfast runs show {session}", soft_wrap=True)
    if keep is not None:
        console.print(f"  [dim]project[/] {escape(str(keep / 'broken-project'))}", soft_wrap=True)
    sys.exit(code or (0 if passed else 1))
