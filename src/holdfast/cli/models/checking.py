"""`holdfast models check`: asks models one short question each, and says who answers, how soon, and what is wrong.

A key is named by the place it is from, and never shown.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Literal

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.span import Amount
from holdfast.cli.choosing.knowing import key_source
from holdfast.cli.choosing.meaning import doubts, meant
from holdfast.cli.models.telling import model_names
from holdfast.cli.settings.defaults import access, settings
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.cli.words import count, one_line, printable, seconds
from holdfast.errors import AuthFailed, ModelError, ModelNotFound, NoCredit, RateLimited, UsageError
from holdfast.flow.clock import SystemClock
from holdfast.models.access.making import ModelMaker
from holdfast.models.calling import Reservation, perform
from holdfast.models.port import Model, ModelRequest
from holdfast.net.client import HttpClient
from holdfast.runtime.settings import Settings
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, UserMessage
from holdfast.types import Text as Words

__all__ = ("check",)

_AT_ONCE = 8
_LONGEST = 16
"""Tokens of an answer: the least that every provider lets one ask for."""
_QUESTION = ModelRequest(instructions="", messages=(UserMessage((Words("Say ok."),)),), max_output_tokens=_LONGEST)
_SMALL = Reservation(max_output_tokens=_LONGEST)
Key = Literal["accepted", "refused", "missing", "limited", "unknown"]
_MAY = {
    "accepted": "may use this model",
    "refused": "may not use this model, or is none",
    "missing": "is missing",
    "limited": "is one, and is over a limit",
    "unknown": "was not asked about",
}


class _Looked(msgspec.Struct, frozen=True, omit_defaults=False):
    """How one model is."""

    model: str
    ok: bool
    first_token_seconds: float | None = None
    """From sending the question to the first piece of an answer."""
    seconds: float | None = None
    """To the end of the answer."""
    key: Key = "unknown"
    key_from: str = ""
    """The variable, or what else says the key; empty where none is sent."""
    error: str = ""
    """The class of what went wrong."""
    found: str = ""
    next: str = ""
    """What to do about it."""


@click.command(
    "check",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Ask models a short question: who answers, how soon.",
)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=model_names)
@click.option(
    "--timeout",
    "patience",
    default=30.0,
    show_default=True,
    type=Amount(0, 600, min_open=True),
    help="Seconds for each.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(names: tuple[str, ...], patience: float, output: str) -> None:
    """Ask each model NAME a question of one word: who answers, how soon, what its key may do, what is wrong.

    A NAME is provider/model, an alias, a tier, or several with commas; without one, the model that is set. Each costs a
    few tokens. Exit code 1 when one does not answer.
    """
    held = settings()
    aside = open_console(stderr=True, plain=held.plain)
    found = {each.name: each for spec in names or (held.model,) for each in meant(spec)}
    for doubt in doubts(found.values()):
        aside.print(Text(f"! {printable(doubt)}", "yellow"), soft_wrap=True)
    looked = asyncio.run(_look_at_all([*found], held, patience, aside))
    if output == "json":
        told = {"ok": all(each.ok for each in looked), "models": looked}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    else:
        _print(open_console(plain=held.plain), looked)
    sys.exit(0 if all(each.ok for each in looked) else 1)


async def _look_at_all(names: list[str], held: Settings, patience: float, aside: Console) -> list[_Looked]:
    line = LiveLine(aside)
    done = 0
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(maker: ModelMaker, name: str) -> _Looked:
        nonlocal done
        async with places:
            looked = await _look(maker, name, patience)
        done += 1
        return looked

    async with HttpClient(TRUSTED) as client:
        maker = ModelMaker(client, SystemClock(), access=access(held), facts=held.facts)
        with line:
            line.figures = lambda: (f"{done} of {len(names)}",)
            line.show(f"asking {count(len(names), 'model')}")
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(maker, name)) for name in names]
    return [task.result() for task in tasks]


async def _look(maker: ModelMaker, name: str, patience: float) -> _Looked:
    try:
        model = maker.find(name)[0].fresh()
    except UsageError as error:
        return _failed(name, error, "")
    try:
        model.check()
        async with asyncio.timeout(patience):
            first, whole = await _ask(model)
    except TimeoutError:
        words, step = f"no answer within {seconds(patience)}", "give it more with --timeout"
        return _Looked(name, False, key_from=key_source(model), error="timeout", found=words, next=step)
    except (ModelError, UsageError) as error:
        return _failed(name, error, key_source(model))
    return _Looked(name, True, round(first, 3), round(whole, 3), "accepted", key_source(model))


def _failed(name: str, error: ModelError | UsageError, source: str) -> _Looked:
    found, _, step = str(error).removeprefix(f"{name!r}").lstrip(": ").rpartition("; ")
    key = _key_after(error, sent=bool(source))
    return _Looked(name, False, None, None, key, source, error.code, found or step, step if found else "")


async def _ask(model: Model) -> tuple[float, float]:
    """Returns the seconds to the first piece of an answer, and to its end."""
    began, first = time.monotonic(), 0.0
    async with aclosing(perform(model, _QUESTION, _SMALL)) as stream:
        async for each in stream:
            first = first or time.monotonic() - began
            if isinstance(each, AssistantMessage):
                break
    return first, time.monotonic() - began


def _key_after(error: ModelError | UsageError, *, sent: bool) -> Key:
    """Returns what is known of a key by what went wrong."""
    match error:
        case NoCredit() | RateLimited():
            return "limited"
        case AuthFailed():
            return "refused" if error.status or sent else "missing"
        case ModelNotFound() if sent:
            return "refused"
        case ModelError() if sent and 400 <= error.status < 500:
            return "accepted"
        case _:
            return "unknown"


def _print(console: Console, looked: Sequence[_Looked]) -> None:
    width = max((len(one_line(each.model, 60)) for each in looked), default=0)
    for each in looked:
        mark = ("✓", "green") if each.ok else ("✗", "bold red")
        head = Text.assemble(mark, f" {one_line(each.model, 60):<{width}}  ")
        lines = list(_lines(each))
        for number, (words, style) in enumerate(lines):
            lead = head if not number else Text(" " * (width + 4))
            console.print(lead + Text(printable(words), style), soft_wrap=True)


def _lines(each: _Looked) -> Iterator[tuple[str, str]]:
    if each.ok:
        first, whole = seconds(each.first_token_seconds or 0), seconds(each.seconds or 0)
        yield f"first token after {first}, whole after {whole}", ""
    else:
        yield f"{each.error}: {each.found}", ""
    if each.key_from:
        yield f"the key in {each.key_from} {_MAY[each.key]}", "dim"
    elif each.ok:
        yield "asked without a key", "dim"
    if each.next:
        yield f"→ {each.next}", "cyan"
