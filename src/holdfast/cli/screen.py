"""Draws a run as it happens: what the agent says, each call with its outcome and duration, cost, and how it ended.

Everything is lines that stay, so that it reads the same in a terminal, a log file and a bug report; on a terminal
a line below shows what is under way and for how long.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from holdfast.engine.events import (
    BudgetExhausted,
    CallReopened,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
)
from holdfast.runtime.run import RunResult
from holdfast.types import Delta, Event, Reset, TextDelta, ToolCall, ToolResult, dollars

__all__ = ("EXIT_CODES", "Screen", "money", "print_result", "seconds")

EXIT_CODES = {"completed": 0, "failed": 1, "limited": 3, "aborted": 4}
_MARKS = {"completed": "[green]✓[/]", "limited": "[yellow]■[/]", "aborted": "[yellow]■[/]", "failed": "[red]✗[/]"}


class Screen:
    """Shows one run."""

    def __init__(self, console: Console, *, quiet: bool = False, known: int = 0) -> None:
        """Shows what comes after event `known`; what comes before it is learned in silence."""
        self._console = console
        self._quiet = quiet
        self._known = known
        self._calls: dict[str, ToolCall] = {}
        self._began: dict[str, float] = {}
        self._cost: int | None = 0
        self._tokens = 0
        self._said = ""
        self._status: Status | None = None
        self._last: tuple[str, float] = ("", 0.0)

    async def show(self, events: AsyncIterator[Event | Delta]) -> None:
        """Draws events until there are no more."""
        try:
            async for event in events:
                self.see(event)
        finally:
            self._busy("")

    def see(self, event: Event | Delta) -> None:
        """Draws one event."""
        if self._quiet:
            return
        match event:
            case TextDelta():
                self._said += event.text
                self._busy("answering " + self._tail())
            case Reset():
                self._said = ""
            case Event() if event.seq <= self._known:
                if isinstance(event.data, ModelFinished):
                    self._count(event.data)
            case Event():
                self._durable(event)
            case _:
                pass

    def _count(self, data: ModelFinished) -> None:
        self._cost = None if self._cost is None or data.cost is None else self._cost + data.cost
        self._tokens += data.message.usage.total_tokens
        for call in data.message.calls:
            self._calls[call.id] = call

    def _durable(self, event: Event) -> None:
        match event.data:
            case InputReceived() as data if data.kind != "prompt":
                self._line(f"[cyan]{data.kind.replace('_', '-')}[/] {escape(data.message.text)}")
            case RunStarted() | InputApplied():
                self._busy("thinking")
            case ModelFinished() as data:
                self._answer(data)
            case ModelFailed() as data:
                self._line(f"[yellow]! model call failed[/] {escape(data.message)} [dim]{data.code}[/]")
                self._busy("trying again")
            case ToolStarted() as data:
                self._began[data.call_id] = time.monotonic()
                self._busy(self._title(self._calls.get(data.call_id)))
            case ToolFinished() as data:
                self._finished(data)
            case _:
                self._rare(event)

    def _rare(self, event: Event) -> None:
        match event.data:
            case CallReopened() as data:
                self._line(
                    f"[magenta]↻[/] {self._title(self._calls.get(data.call_id))} [dim]runs again, files put back[/]"
                )
            case ToolWaiting() as data:
                self._line(f"[yellow]⏸ waiting[/] for {data.wait.kind} [dim]{escape(data.wait.token)}[/]")
            case BudgetExhausted() as data:
                self._line(f"[yellow]■[/] the {data.limit} left do not pay for another model call")
            case RunFinished():
                self._busy("")
            case _:
                pass

    def _answer(self, data: ModelFinished) -> None:
        self._said = ""
        self._count(data)
        self._busy("")
        text = data.message.text.strip()
        if text:
            body: RenderableType = Markdown(text) if not data.message.calls else Text(text)
            self._print(Padding(body, (1 if not data.message.calls else 0, 0, 0, 0)))
        self._busy("working")

    def _finished(self, data: ToolFinished) -> None:
        call = self._calls.get(data.call_id)
        self._began.pop(data.call_id, None)
        mark = "[green]✓[/]" if data.result.error is None else "[red]✗[/]"
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=1)
        line.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
        line.add_column(justify="right", style="dim")
        line.add_row(mark, Text.from_markup(self._title(call)), seconds(data.duration / 1e6))
        self._busy("")
        self._print(Padding(line, (0, 0, 0, 2)))
        for row in outcome(data.result):
            self._print(Padding(Text.from_markup(row), (0, 0, 0, 4)))
        self._busy("thinking")

    def _title(self, call: ToolCall | None) -> str:
        if call is None:
            return "call"
        return f"[bold]{escape(call.name)}[/] {escape(_about(call))}"

    def _tail(self) -> str:
        return escape(" ".join(self._said.split())[-60:])

    def _line(self, markup: str) -> None:
        self._busy("")
        self._print(Padding(Text.from_markup(markup), (0, 0, 0, 2)))

    def _print(self, what: RenderableType) -> None:
        self._console.print(what)

    def _busy(self, what: str) -> None:
        """Shows what is under way below the lines, on a terminal."""
        if not self._console.is_terminal:
            return
        if not what:
            if self._status is not None:
                self._status.stop()
                self._status = None
            return
        spent = "" if not self._tokens else f"  [dim]{self._tokens:,} tokens · {money(self._cost)}[/]"
        if self._status is None:
            self._status = self._console.status(what + spent)
            self._status.start()
        else:
            self._status.update(what + spent)


def outcome(result: ToolResult) -> list[str]:
    """Returns a few words on what a call came to, as markup lines."""
    ui = result.metadata.get("ui")
    if result.error is not None and result.error.reason == "outcome_unknown":
        return ["[magenta]outcome unknown: it was under way when the process died[/]"]
    if ui == "diff":
        return [_coloured(line) for line in str(result.metadata.get("diff", "")).splitlines()[2:14]]
    if ui == "terminal" or result.error is not None:
        lines = [line for line in result.content.splitlines() if line.strip()]
        style = "dim" if result.error is None else "red"
        return [f"[{style}]{escape(line[:200])}[/]" for line in lines[-2:]]
    if ui == "code":
        return [f"[dim]{result.metadata.get('lineCount', '?')} lines[/]"]
    if ui == "file-created":
        return [f"[dim]{result.metadata.get('size', '?')} bytes[/]"]
    first = next((line for line in result.content.splitlines() if line.strip()), "")
    return [f"[dim]{escape(first[:200])}[/]"] if first else []


def _coloured(line: str) -> str:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
    return f"[{style}]{escape(line[:200])}[/]"


def _about(call: ToolCall) -> str:
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except ValueError:
        return call.arguments[:120]
    if not isinstance(arguments, dict):
        return str(arguments)[:120]
    fields = cast("dict[str, Any]", arguments)
    for name in ("command", "path", "url", "pattern"):
        if name in fields:
            return " ".join(str(fields[name]).split())
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())[:120]


def print_result(console: Console, result: RunResult, store: str) -> None:
    """Prints how a run ended, and where it is kept."""
    console.print()
    reason = f" [dim]({escape(result.reason)})[/]" if result.reason else ""
    cost = "price unknown" if result.cost is None else f"${result.cost:.4f}"
    console.print(
        f"{_MARKS[result.status]} [bold]{result.status}[/]{reason}  "
        f"[dim]{result.steps} steps · {result.usage.total_tokens:,} tokens · {cost}[/]"
    )
    console.print(f"  [dim]session[/] {result.session}  [dim]log[/] {escape(store)}", highlight=False, soft_wrap=True)


def money(cost: int | None) -> str:
    """Returns nanodollars for people."""
    return "$?" if cost is None else f"${dollars(cost):.4f}"


def seconds(amount: float) -> str:
    """Returns a duration for people."""
    if amount < 0.0995:
        return f"{amount * 1000:.0f} ms"
    return f"{amount:.1f} s" if amount < 60 else f"{amount // 60:.0f} min {amount % 60:.0f} s"
