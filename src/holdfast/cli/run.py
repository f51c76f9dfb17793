"""`holdfast run`: one job, in a folder, from the command line; and following any run to its end.

Ctrl-C asks the run to end and keeps what it has; a second one leaves at once, and the log is none the worse.
SIGTERM stops the process and leaves the run open, as a crash would, but cleanly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from holdfast.cli.asking.approving import Approver
from holdfast.cli.asking.denying import deny_approvals
from holdfast.cli.asking.span import Amount, Span, Times, Whole
from holdfast.cli.attached import sort_out
from holdfast.cli.choosing.meaning import doubts, meant
from holdfast.cli.completion.sessions import session_names
from holdfast.cli.data import of_result, printed
from holdfast.cli.learning.waits import denials
from holdfast.cli.rendering.happenings import again
from holdfast.cli.screen import EXIT_CODES, Screen, store_option
from holdfast.cli.settings.defaults import doubted, open_runtime, policy_of, settings, store_url, warn
from holdfast.cli.settings.naming import model_specs
from holdfast.cli.terminal import open_console, with_person
from holdfast.cli.words import names_in, printable
from holdfast.engine.events import CODEC
from holdfast.errors import HoldfastError, UnknownSession, UsageError
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run, RunResult
from holdfast.runtime.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.runtime.speaking import PROMPT_BYTES
from holdfast.sandbox.port import Posture
from holdfast.sandbox.snippets.telling import listening
from holdfast.types import LEVELS, Control, Delta, Event, Limits, Mode, ThinkingLevel

__all__ = ("Look", "coder", "follow", "isolation_note", "play", "report", "run")

_INSTRUCTIONS = (
    "You work on the files of one folder with the tools you are given. Look before you change anything, change as "
    "little as does the job, run what proves that it works, and say at the end what you did and what you saw. "
    "Paths are relative to the folder."
)
_TOOLS = ("read", "write", "edit", "grep", "glob", "ls", "bash", "process", "fetch", "git")
_CONFINED = "! sandbox process, without namespaces: holdfast sandbox probe says what it leaves open"
_UNISOLATED = "! no sandbox: commands run as you, with your files and the network in reach"
_REFUSED = "! no sandbox works here, so commands are refused: holdfast doctor says why, --sandbox none does without"
_INTERRUPTED = 130
_TERMINATED = 143


def coder(
    model: str,
    limits: Limits,
    *,
    asks: bool = False,
    output: dict[str, Any] | None = None,
    thinking: ThinkingLevel | None = None,
    roles: Sequence[str] = (),
) -> Agent:
    """Returns the agent behind `holdfast run`: the workspace tools and a few words on how to use them.

    One that `asks` can ask the person it works for; one with an `output` answers with JSON of that schema. `roles` are
    what it is for a policy.
    """
    return Agent(
        model,
        instructions=_INSTRUCTIONS,
        tools=(*_TOOLS, "question") if asks else _TOOLS,
        name="coder",
        limits=limits,
        output=output,
        thinking=thinking,
        roles=roles,
    )


class Look(msgspec.Struct, frozen=True):
    """How a run is shown as text."""

    quiet: bool = False
    """Only the answer."""
    plain: bool = False
    """No colours, nothing that moves, also on a terminal."""
    theme: str = "dark"


_EPILOG = (
    "Exit codes: 0 completed, 1 failed, 2 wrong usage, 3 stopped at a limit, 4 aborted, 130 left by a second Ctrl-C, "
    "141 nobody read the output, 143 ended by SIGTERM. Defaults come from the settings: see holdfast config show."
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=_EPILOG)
@click.argument("prompt", required=False)
@click.option(
    "-m",
    "--model",
    help="As provider/name; several with commas stand in for one another.  [default: openai/gpt-5-mini]",
    shell_complete=model_specs,
)
@click.option("--thinking", type=click.Choice(LEVELS), help="How much the model thinks.  [default: as it likes]")
@click.option("-s", "--session", help="Go on in this session.  [default: a new one]", shell_complete=session_names)
@click.option(
    "-w", "--workspace", type=click.Path(path_type=Path), help="Folder.  [default: the session's, else this one]"
)
@click.option(
    "--attach",
    "attached",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A picture, PDF or other file. Repeatable.",
)
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: auto]")
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@click.option("--roles", default="", help="What the agent is for that policy: its roles, with commas.")
@click.option("--yes", is_flag=True, help="Allow every call without a question.")
@click.option("--ask", is_flag=True, help="Ask before every change, also of files.")
@click.option("--read-only", is_flag=True, help="Allow nothing that changes anything.")
@click.option("--max-steps", type=Whole(1), help="Model calls.  [default: 200]")
@click.option("--max-tokens", type=Whole(1), help="Tokens in and out together.")
@click.option("--max-dollars", type=Amount(0, min_open=True), help="What the model may cost.")
@click.option("--max-seconds", type=Amount(0, min_open=True), help="Wall time.")
@click.option("--last-answer", is_flag=True, help="At a limit of steps, let it say how far it came.")
@click.option(
    "--review",
    is_flag=False,
    flag_value=1,
    type=Times(),
    metavar="[N]",
    help="You approve the answer, and may ask for changes N times.  [default: 1]",
)
@click.option("--patience", type=Span(), help="How long it waits for a person's word, as 90s or 10m.")
@click.option("--store", help="Where the log is kept: sqlite:///file.db or memory:  [default: your data folder]")
@click.option("-o", "--output", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
@click.option(
    "--output-schema", type=click.Path(path_type=Path), help="A JSON Schema that the answer has to fit, in a file."
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the answer.")
@click.option("--plain", is_flag=True, default=None, help="No colours and no line that moves, as in a file.")
def run(
    prompt: str | None,
    model: str | None,
    thinking: ThinkingLevel | None,
    session: str | None,
    workspace: Path | None,
    attached: tuple[Path, ...],
    sandbox: str | None,
    policy: Path | None,
    roles: str,
    yes: bool,
    ask: bool,
    read_only: bool,
    max_steps: int | None,
    max_tokens: int | None,
    max_dollars: float | None,
    max_seconds: float | None,
    last_answer: bool,
    review: int | None,
    patience: float | None,
    store: str | None,
    output: str,
    output_schema: Path | None,
    quiet: bool,
    plain: bool | None,
) -> None:
    """Give an agent the job PROMPT says, or standard input, in a folder.

    It reads, writes and edits files there, and runs commands in a sandbox: they reach that folder alone, no network.
    Changes of files in the folder are allowed, and you are asked before what could do more. Where nobody can be asked
    (no terminal, -q, or -o json) that is denied, and the result says so; --yes allows it, --patience waits a while.

    Ctrl-C aborts the run and keeps what it has; a second one leaves at once. `-o json` prints the result as one
    object, with the answer to an --output-schema as its value, `-o jsonl` everything that happens, an object a line.
    """
    text = _job(prompt, workspace)
    warn(held := settings(workspace or Path()))
    mode, url = _mode(yes, ask, read_only) or held.mode, store_url(store)
    caps = held.limits(steps=max_steps, tokens=max_tokens, dollars=max_dollars, seconds=max_seconds)
    agent = _agent(held, model, replace(caps, last_answer=last_answer), thinking, output_schema, roles, policy)
    look = Look(quiet, held.plain if plain is None else plain, held.theme)
    control = Control(patience=patience, review=review)
    attended = _attended(control, sits=output == "text" and not quiet and with_person())

    async def go() -> int:
        async with open_runtime(url, sandbox, policy) as runtime:
            parts, files = sort_out(attached)
            started = await runtime.start(
                agent(asks=attended),
                [text, *parts],
                session=session,
                workspace=workspace or await own_folder(runtime, session) or Path(),
                mode=mode,
                unattended=not attended,
                files=files,
                control=control,
            )
            return report(await follow(started, url, output, look=look, note=await _note(runtime, mode)), output)

    sys.exit(play(go()))


def _agent(
    held: Settings,
    model: str | None,
    caps: Limits,
    thinking: ThinkingLevel | None,
    schema: Path | None,
    roles: str,
    policy: Path | None,
) -> Callable[..., Agent]:
    """Returns what makes the agent, once it is known whether it `asks`."""
    spec = model or held.model
    found = [*doubts(meant(spec))]  # a name that leads nowhere is refused with those that are near
    given: dict[str, Any] = {"output": _schema(schema), "roles": names_in(roles)}
    made = partial(coder, spec, caps, thinking=thinking or held.thinking, **given)
    if (rulings := policy_of(policy)) is not None:
        found += doubted(rulings, made(asks=True).spec)
    for doubt in found:
        print(f"note {printable(doubt)}", file=sys.stderr)
    return made


async def _note(runtime: Runtime, mode: Mode) -> str:
    return "" if mode == "read-only" else isolation_note(await runtime.posture(), mode)


def isolation_note(posture: Posture, mode: Mode | None = None) -> str:
    """Returns what a person is told of the sandbox before anything runs; `mode` says whether calls are asked about."""
    if posture.isolated:
        return f"sandbox {posture.backend}: commands reach this folder alone, and no network"
    if "egress-proxy" in posture.layers:
        asked = "" if mode == "auto" else "; commands are asked about"
        return f"sandbox {posture.backend}: this folder, and the network its policy allows{asked}"
    return {"refused": _REFUSED, "process": _CONFINED}.get(posture.backend, _UNISOLATED)


def _job(prompt: str | None, workspace: Path | None) -> str:
    """Returns what is wanted, once it is sure that there is something to do and somewhere to do it."""
    # Arguments may hold bytes that are no UTF-8; what the log holds must be.
    text = _input() if prompt is None else prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if not text.strip():
        raise UsageError('there is no job: write it behind the command, as in holdfast run "Fix the failing test"')
    if workspace is not None and not workspace.is_dir():
        raise UsageError(
            f"the workspace {str(workspace)!r} is no folder: make it first, or name another with --workspace"
        )
    return text


def _schema(path: Path | None) -> dict[str, Any] | None:
    """Returns what the answer has to fit, as a file says it; whether it is a schema, the agent finds out."""
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise UsageError(f"the schema cannot be read: {error.strerror}: {str(path)!r}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{str(path)!r} holds no JSON Schema ({error}): write one JSON object into it") from None


def _attended(control: Control, *, sits: bool) -> bool:
    """Returns whether somebody can be asked: who `sits` here, or whoever has time to answer from elsewhere."""
    attended = sits or control.patience is not None
    if control.review is not None and not attended:
        raise UsageError("nobody sits here to review the answer: add --patience, and answer with holdfast approve")
    return attended


async def own_folder(runtime: Runtime, session: str | None) -> Path | None:
    """Returns the folder of a session that is there already: a fork stays with its files."""
    try:
        folder = await runtime.workspace(session) if session else None
    except UnknownSession:
        return None
    return Path(folder) if folder else None


def _mode(yes: bool, ask: bool, read_only: bool) -> Mode | None:
    if yes + ask + read_only > 1:
        raise click.UsageError("--yes, --ask and --read-only exclude each other: give one of them")
    return "auto" if yes else "ask" if ask else "read-only" if read_only else None


def play(work: Coroutine[Any, Any, int]) -> int:
    """Runs a command's work and returns its exit code, also when it was told to stop."""
    try:
        return asyncio.run(work)
    except asyncio.CancelledError:
        return _TERMINATED


async def follow(
    run: Run,
    url: str,
    output: str,
    *,
    look: Look = Look(),  # noqa: B008 - a value
    known: int = 0,
    note: str = "",
    events: AsyncIterator[Event | Delta] | None = None,
    denies: bool = False,
    foreign: Callable[[], Awaitable[bool]] | None = None,
) -> RunResult:
    """Shows a run to its end, after a note, and returns what it came to.

    Events up to `known` are not shown as text. `events` stand in for the run's own. `foreign` says whether the run is
    of an agent that this command line cannot make; it is asked only where that matters. Whoever sits at the terminal is
    asked for approvals; where `denies` is set and nobody sits there, they are denied.
    """
    screen = _screen(run, look, known) if output == "text" and not look.quiet else None
    asks = screen is not None and screen.approver is not None
    if screen is not None and denies:
        screen.advice = ""
    with _Signals(run, screen, url):
        async with _denying(run, known) if denies and not asks else contextlib.nullcontext():
            await _show(run, screen, output, note, events)
            result = await run.result()
    if screen is not None:
        other = result.status != "completed" and foreign is not None and await foreign()
        screen.conclude(result, url, foreign=other)
    elif output == "text":
        _answer(result, url)
    return result


@contextlib.asynccontextmanager
async def _denying(run: Run, known: int) -> AsyncGenerator[None]:
    """Denies what waits for a person, meanwhile."""
    task = asyncio.create_task(deny_approvals(run, known), name="deny")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, HoldfastError):  # what is wrong, whoever follows says
            await task


async def _show(
    run: Run, screen: Screen | None, output: str, note: str, events: AsyncIterator[Event | Delta] | None
) -> None:
    if screen is not None:
        await _draw(screen, events or run.events(), note)
    elif output == "jsonl":
        async for event in run.events():
            click.echo(CODEC.encode(event) if isinstance(event, Event) else _delta(event))


def _screen(run: Run, look: Look, known: int) -> Screen:
    screen = Screen(open_console(plain=look.plain), known=known, theme=look.theme)
    if with_person():
        screen.approver = Approver(screen.console, run, screen.live)
    return screen


async def _draw(screen: Screen, events: AsyncIterator[Event | Delta], note: str) -> None:
    if note:
        screen.note(note)
    try:
        with listening(screen.note):
            await screen.show(events)
    finally:
        if screen.approver is not None:
            await screen.approver.close()


def _answer(result: RunResult, url: str) -> None:
    """Prints the answer alone; what a person should know beside it goes to standard error."""
    if result.output:
        click.echo(printable(result.output).rstrip("\n"))
    if result.status != "completed":
        enough = f"; {result.advice}" if result.advice else ""
        when = "" if result.again_at is None else f"; enough may be free again {again(result.again_at)}"
        look = "" if url == "memory:" else f"; look: holdfast runs show {result.session}{store_option(url)}"
        click.echo(printable(f"{result.status} ({result.reason}){enough}{when}{look}"), err=True)
    if result.denied:
        look = "" if url == "memory:" else f"; why: holdfast runs show {result.session}{store_option(url)}"
        click.echo(f"{denials(result.denied, Counter())}{look}", err=True)


def report(result: RunResult, output: str) -> int:
    """Prints a result as an object, where that was asked for, and returns the exit code."""
    if output == "json":
        click.echo(printed(of_result(result)))
    return EXIT_CODES[result.status]


class _Signals:
    """What a person's or a system's wish to stop does while a run is followed."""

    def __init__(self, run: Run, screen: Screen | None, url: str) -> None:
        self._run = run
        self._url = url
        self._screen = screen
        self._aborts: list[asyncio.Task[object]] = []
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def __enter__(self) -> None:
        wishes: tuple[tuple[signal.Signals, Callable[[], None]], ...] = (
            (signal.SIGINT, self._interrupt),
            (signal.SIGTERM, self._terminate),
        )
        for number, handler in wishes:
            self._loop.add_signal_handler(number, handler)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self._aborts:
            if self._screen is not None:
                self._screen.leave()
            # Like a kill, which the log stands: nothing here may wait, or a second Ctrl-C would be one too few.
            again = f"the run is still open: holdfast runs resume {self._run.session}{store_option(self._url)}"
            click.echo(f"left; {'the run is gone with its log' if self._url == 'memory:' else again}", err=True)
            os._exit(_INTERRUPTED)
        self._aborts.append(self._loop.create_task(self._run.abort("Ctrl-C")))
        if self._screen is not None:
            self._screen.aborting()

    def _terminate(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _input() -> str:
    """Returns standard input, if somebody gave one; of a very long one just enough to see that it is too long."""
    if sys.stdin is None or sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - None when it is closed
        return ""
    return sys.stdin.buffer.read(PROMPT_BYTES + 1).decode("utf-8", "replace")


def _delta(delta: Delta) -> bytes:
    return msgspec.json.encode({"type": delta.type, "data": delta})
