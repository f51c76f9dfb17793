"""`holdfast task`: one job, its result as JSON on standard output, and what happens on standard error or in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from holdfast.cli.agentops.loading import CONFIG, load
from holdfast.cli.agentops.reporting import TaskResult, result_file, write_result
from holdfast.cli.settings.defaults import open_runtime, store_url
from holdfast.errors import HoldfastError, UsageError
from holdfast.safety.redacting import Redactor

if TYPE_CHECKING:
    from holdfast.server.doors.agentops.configuring.making import Configured
    from holdfast.server.doors.agentops.shapes import Fep

__all__ = ("task",)

_TERMINATED = 143
_STOPPED = "the task was told to end: its run stays open, and goes on when it is started again under its name"
_json = msgspec.json.Encoder()


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    config: Path
    prompt: str
    workspace: Path | None
    sandbox: str | None
    store: str | None
    environment: Mapping[str, str]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="The agent.")
@click.option("--prompt", help="What is to be done.  [default: AGENT_PROMPT]")
@click.option(
    "--result-file", type=click.Path(path_type=Path), help="Takes the result.  [default: /dev/termination-log]"
)
@click.option("--events", type=click.Path(path_type=Path), help="Takes what happens.  [default: standard error]")
@click.option("--workspace", type=click.Path(path_type=Path), help="Its folder.  [default: WORKSPACE, else this one]")
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: auto]")
@click.option("--store", help="Where the log is kept.  [default: your data folder]")
def task(
    config: Path,
    prompt: str | None,
    result_file: Path | None,
    events: Path | None,
    workspace: Path | None,
    sandbox: str | None,
    store: str | None,
) -> None:
    """Do one job as the agent of a config.json, as AgentOps' task does.

    The result is one JSON object on standard output, and in the result file, there with its texts cut to what an
    operator is given. What happens is a JSON object a line, in the events of AgentOps' protocol.

    With NATS_URL, the events are published there, too, on agents.NAMESPACE.NAME.fep.TYPE.

    Nobody is asked: calls of permissionTools are denied. A task with a name (AGENT_RUN_NAME) that is started again
    goes on where it was.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 143 ended by SIGTERM.
    """
    words = prompt if prompt is not None else os.environ.get("AGENT_PROMPT", "")
    asked = _Asked(
        config=config, prompt=words, workspace=workspace, sandbox=sandbox, store=store, environment=os.environ
    )
    sys.exit(_report(_done(asked, events), result_file))


def _report(ended: tuple[TaskResult, int], named: Path | None) -> int:
    result, code = ended
    write_result(result, result_file(named))
    try:
        click.echo(_json.encode(result))
    except OSError:  # nobody reads it, or there is no room; the file has it, and the interpreter need not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _done(asked: _Asked, events: Path | None) -> tuple[TaskResult, int]:
    """Returns what the task came to, whatever it came to, and the exit code."""
    if not asked.prompt.strip():
        return _failed("no prompt: set AGENT_PROMPT, or give --prompt"), 1
    try:
        with _lines(events) as lines:
            return asyncio.run(_work(asked, lines))
    except asyncio.CancelledError:
        return _failed(_STOPPED), _TERMINATED
    except HoldfastError as error:
        return _failed(Redactor().clean(str(error))), 2 if isinstance(error, UsageError) else 1


def _failed(error: str) -> TaskResult:
    return TaskResult(output="", steps=0, model="", success=False, error=error)


@contextlib.contextmanager
def _lines(path: Path | None) -> Generator[BinaryIO]:
    """Opens what takes the events."""
    if path is None:
        yield sys.stderr.buffer
        return
    try:
        file = path.open("ab")
    except OSError as error:
        raise UsageError(f"the events file {str(path)!r} cannot be written: {error.strerror}") from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # whoever wrote has been told
            file.close()


async def _work(asked: _Asked, lines: BinaryIO) -> tuple[TaskResult, int]:
    from holdfast.engine.events import ModelFinished
    from holdfast.server.doors.agentops.asking import trace_of
    from holdfast.server.doors.agentops.outcomes.inferring import outcome_of
    from holdfast.server.doors.agentops.telling import files_of
    from holdfast.server.doors.agentops.translating import Translator
    from holdfast.types import Event

    made, env = load(asked.config, daemon=False), asked.environment
    trace = trace_of(env.get("TRACEPARENT", ""))
    origin = {"traceparent": trace, "run_name": env.get("AGENT_RUN_NAME", "")}
    origin["parent_agent"] = env.get("AGENT_RUN_SOURCE_AGENT", "")
    name = env.get("AGENT_RUN_NAME", "") or None
    folder = asked.workspace or Path(made.workspace or ".")
    if not folder.is_dir():
        raise UsageError(f"the workspace {str(folder)!r} is no folder: make it first, or name another")
    events, model = list[Event](), ""
    opened = open_runtime(store_url(asked.store), asked.sandbox, policies=made.policies, **made.opening())
    async with opened as runtime, _lines_and_bus(made, env, lines) as tell, _ended_by_signal():
        run = await runtime.start(
            made.agent,
            asked.prompt,
            session=name,
            key=name,
            workspace=folder,
            unattended=True,
            origin={each: value for each, value in origin.items() if value},
        )
        if run.repeated:
            await runtime.wake(run.session, [made.agent])
        told = Translator(made.name, run.session, prompt=asked.prompt)
        try:
            async for item in run.events():
                if isinstance(item, Event):
                    events.append(item)
                    model = item.data.message.model if isinstance(item.data, ModelFinished) else model
                told.files = await files_of(runtime, [item])
                tell(told.feed([item], datetime.now(UTC)))
        except asyncio.CancelledError:
            tell(told.end(_STOPPED, datetime.now(UTC)))
            raise
        result = await run.result()
    good = result.status == "completed"
    git = bool(env.get("GIT_REPO_URL"))
    return TaskResult(
        output=result.output,
        steps=result.steps,
        model=model or made.agent.spec.model.partition(",")[0],
        success=good,
        error="" if good else result.reason or result.status,
        trace_id=trace.split("-")[1] if trace else "",
        input_tokens=result.usage.input_tokens,
        output_tokens=result.usage.output_tokens,
        outcome=outcome_of(events, result.output, git=git) if good else None,
    ), 0 if good else 1


@contextlib.asynccontextmanager
async def _lines_and_bus(
    made: Configured, env: Mapping[str, str], lines: BinaryIO
) -> AsyncGenerator[Callable[[Sequence[Fep]], None]]:
    """Gives what events are told to: a line each, and the bus, where there is one."""
    from holdfast.server.doors.agentops.publishing import on_bus

    if not (url := env.get("NATS_URL", "")):
        yield lambda events: _write(lines, events)
        return
    async with on_bus(url, made.name, made.namespace) as bus:

        def tell(events: Sequence[Fep]) -> None:
            _write(lines, events)
            bus.tell(events)

        yield tell


def _write(lines: BinaryIO, events: Sequence[object]) -> None:
    if not events:
        return
    try:
        lines.write(b"".join([_json.encode(each) + b"\n" for each in events]))
        lines.flush()
    except OSError as error:
        raise UsageError(
            f"what happens cannot be written down ({error.strerror}): make room, or name another --events file, and "
            "start the task again; one with a name goes on where it was"
        ) from error


@contextlib.asynccontextmanager
async def _ended_by_signal() -> AsyncGenerator[None]:
    """Has SIGTERM and SIGINT cancel what is in the block."""
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, current.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
