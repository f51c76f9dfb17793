"""`holdfast run`: one job, in a folder, from the command line."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from holdfast.cli.screen import EXIT_CODES, Screen, print_result
from holdfast.engine.events import CODEC
from holdfast.errors import UsageError
from holdfast.runtime.agent import Agent
from holdfast.runtime.opening import default_url
from holdfast.runtime.run import Run
from holdfast.runtime.runtime import Runtime
from holdfast.types import Event, Limits

__all__ = ("CODER", "coder", "follow", "run")

CODER = (
    "You work on the files of one folder with the tools you are given. Look before you change anything, change as "
    "little as does the job, run what proves that it works, and say at the end what you did and what you saw. "
    "Paths are relative to the folder."
)


def coder(model: str, limits: Limits) -> Agent:
    """Returns the agent behind `holdfast run`: the workspace tools and a few words on how to use them."""
    return Agent(model, instructions=CODER, tools=["read", "write", "edit", "bash"], name="coder", limits=limits)


@click.command()
@click.argument("prompt", required=False)
@click.option("-m", "--model", envvar="HOLDFAST_MODEL", default="openai/gpt-5-mini", show_default=True)
@click.option("-s", "--session", help="Go on in this session; a new one by default.")
@click.option("-w", "--workspace", type=click.Path(file_okay=False, path_type=Path), default=".", show_default=True)
@click.option("--max-steps", type=click.IntRange(1), help="Model calls.")
@click.option("--max-dollars", type=click.FloatRange(0, min_open=True))
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="Wall time.")
@click.option("--store", help="Where the log is kept: sqlite:///file.db or memory:.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
def run(
    prompt: str | None,
    model: str,
    session: str | None,
    workspace: Path,
    max_steps: int | None,
    max_dollars: float | None,
    max_seconds: float | None,
    store: str | None,
    output: str,
) -> None:
    """Give an agent the job PROMPT says, or standard input, in a folder.

    It reads, writes and edits files there and runs commands, without a sandbox: use a folder you can spare.
    Ctrl-C aborts the run and keeps what it has.
    """
    text = prompt or ("" if sys.stdin.isatty() else sys.stdin.read())
    if not text.strip():
        raise UsageError('there is no job: write it behind the command, as in holdfast run "Fix the failing test"')
    if not workspace.is_dir():
        raise UsageError(
            f"the workspace {str(workspace)!r} is no folder: make it first, or name another with --workspace"
        )
    steps = {} if max_steps is None else {"steps": max_steps}
    limits = Limits(dollars=max_dollars, seconds=max_seconds, **steps)

    async def go() -> int:
        url = store or default_url()
        async with Runtime.open(url) as runtime:
            started = await runtime.start(coder(model, limits), text, session=session, workspace=workspace)
            return await follow(started, url, output)

    sys.exit(asyncio.run(go()))


async def follow(run: Run, url: str, output: str, known: int = 0) -> int:
    """Shows a run to its end and returns the exit code; Ctrl-C aborts the run."""
    console = Console(stderr=output == "json", highlight=False)
    loop = asyncio.get_running_loop()
    aborts: set[asyncio.Task[object]] = set()

    def abort() -> None:
        aborts.add(loop.create_task(run.abort("Ctrl-C")))

    loop.add_signal_handler(signal.SIGINT, abort)
    try:
        if output == "jsonl":
            async for event in run.events():
                click.echo(CODEC.encode(event) if isinstance(event, Event) else _delta(event))
        else:
            screen = Screen(console, quiet=output == "json", known=known)
            await screen.show(run.events())
        result = await run.result()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(result)).decode())
    elif output == "text":
        print_result(console, result, url)
    return EXIT_CODES[result.status]


def _delta(delta: object) -> bytes:
    kind = str(getattr(delta, "type", "delta"))
    return msgspec.json.encode({"type": kind, "data": delta})
