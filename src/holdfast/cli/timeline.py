"""A session's log as a table: one line for each event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from holdfast.cli.screen import money, outcome, seconds
from holdfast.engine.events import (
    AbortRequested,
    Forked,
    InputReceived,
    ModelFailed,
    ModelFinished,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
)
from holdfast.types import Event, Unknown

__all__ = ("timeline",)


def timeline(events: Sequence[Event]) -> Table:
    """Returns the table."""
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("seq", justify="right", style="dim", no_wrap=True)
    table.add_column("time", style="dim", no_wrap=True)
    table.add_column("epoch", justify="right", style="dim", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("what", ratio=1)
    names: dict[str, str] = {}
    for event in events:
        if isinstance(event.data, ModelFinished):
            names.update({call.id: call.name for call in event.data.message.calls})
        at = datetime.fromtimestamp(event.at / 1e6, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        table.add_row(str(event.seq), at, str(event.epoch), event.type, _what(event, names))
    return table


def _what(event: Event, names: dict[str, str]) -> str:
    match event.data:
        case InputReceived() as data:
            return f"[cyan]{data.kind}[/] {escape(_short(data.message.text))}"
        case RunStarted() as data:
            return f"[bold]{escape(data.setup.model)}[/] [dim]{escape(data.setup.workspace)}[/]"
        case ModelFinished() as data:
            calls = " ".join(f"[bold]{escape(call.name)}[/]" for call in data.message.calls)
            cost = f"[dim]{seconds(data.duration / 1e6)} · {money(data.cost)}[/]"
            return f"{escape(_short(data.message.text))} {calls} {cost}".strip()
        case ModelFailed() as data:
            return f"[yellow]{data.code}[/] {escape(_short(data.message))}"
        case ToolStarted() as data:
            undo = " · files can be put back" if data.snapshot else ""
            return f"[bold]{escape(names.get(data.call_id, '?'))}[/] [dim]outside: {data.effect.outside}{undo}[/]"
        case ToolFinished() as data:
            mark = "[green]✓[/]" if data.result.error is None else "[red]✗[/]"
            said = outcome(data.result)
            name = escape(names.get(data.call_id, "?"))
            return f"{mark} [bold]{name}[/] {said[-1] if said else ''} [dim]{seconds(data.duration / 1e6)}[/]"
        case _:
            return _rare(event)


def _rare(event: Event) -> str:
    match event.data:
        case RunFinished() as data:
            return f"[bold]{data.status}[/] {escape(data.reason)} [dim]{data.steps} steps · {money(data.cost)}[/]"
        case ToolWaiting() as data:
            return f"[yellow]waits for {data.wait.kind}[/] {escape(data.wait.token)}"
        case AbortRequested() as data:
            return escape(data.reason)
        case Forked() as data:
            return f"from {escape(data.parent)} at {data.at}"
        case Rewound() as data:
            return f"to {data.to}"
        case Unknown() as data:
            must = (
                " [red]must be understood: this version cannot go on with the session[/]"
                if event.must_understand
                else ""
            )
            return (
                f"[dim]unknown to this version: {escape(_short(bytes(data.raw).decode('utf-8', 'replace')))}[/]{must}"
            )
        case _:
            return ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:159] + "…"
